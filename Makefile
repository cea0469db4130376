# make materialize | test | ui | bench: each sets up .venv first, where it has to.

PYTHON ?= python3
PRESET ?= default
CONFIG ?=
ifndef DATA
DATA := $(or $(JERSEY_DATA_ROOT),data/sample)
endif
PORT ?= 3000

# A URL stays as it is; a path is the same path for whatever runs elsewhere.
export JERSEY_DATA_ROOT := $(if $(findstring ://,$(DATA)),$(DATA),$(abspath $(DATA)))
export JERSEY_ARTIFACT_ROOT ?= $(CURDIR)/artifacts
export DAGSTER_HOME ?= $(CURDIR)/.dagster_home

# Dagster announces its own successor commands and newer parts at each start.
export PYTHONWARNINGS = ignore:Function `asset_materialize_command`,ignore:Parameter `include_sources`

# Drawn only where it is the dataset that was asked for.
SAMPLE := $(if $(filter $(abspath data/sample),$(abspath $(DATA))),data/sample)
BIN := .venv/bin
READY := .venv/.ready
HOME_READY := $(DAGSTER_HOME)/dagster.yaml

.PHONY: setup materialize test test-slow ui bench bench-front-door bench-annotations \
  bench-export bench-faults bench-predict bench-sensor bench-training clean help

help:
	@echo "make materialize [DATA=folder] [PRESET=default|quick|gpu] [CONFIG=more.yaml]"
	@echo "make setup | test | test-slow | ui [PORT=3000] | bench | clean (.venv only)"

materialize: $(READY) $(HOME_READY) | $(SAMPLE)
	@$(BIN)/dagster asset materialize --select '*' -m jersey_assets.definitions \
	  -c presets/$(PRESET).yaml $(addprefix -c ,$(CONFIG))

setup: $(READY) $(HOME_READY)

test: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

test-slow: $(READY)
	$(BIN)/pytest -m slow --timeout 1800

ui: $(READY) $(HOME_READY) | $(SAMPLE)
	@cmp -s dagster.yaml "$(HOME_READY)" || \
	  echo "Note: $(HOME_READY) is not dagster.yaml of this version: compare them"
	@$(BIN)/python -m jersey_assets.webserver --port $(PORT) --daemon

bench: bench-front-door bench-annotations bench-export bench-predict bench-training \
  bench-sensor

bench-front-door: $(READY)
	$(BIN)/python -m benchmarks.front_door

bench-annotations: $(READY)
	$(BIN)/python -m benchmarks.annotations

bench-sensor: $(READY)
	$(BIN)/python -m benchmarks.sensor

# Some 20 faults, each with runs of the whole graph: a quarter of an hour.
bench-faults: $(READY)
	$(BIN)/python -m benchmarks.faults $(if $(FAULT),--only "$(FAULT)")

# BENCH_DATA: dataset roots to train on, a drawn one where none is named.
bench-training: $(READY)
	$(BIN)/python -m benchmarks.training $(addprefix --data ,$(BENCH_DATA))

bench-predict: $(READY)
	$(BIN)/python -m benchmarks.predict

# With CHECKPOINT=model.ckpt, what int8 changes on the dataset in DATA as well.
bench-export: $(READY)
	$(BIN)/python -m benchmarks.export \
	  $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT) --data $(DATA))

data/sample: | $(READY)
	@echo "Drawing the sample dataset"
	@$(BIN)/jersey-assets render $@

# Two Dagster processes that start at once on a new home can corrupt it: make it here.
$(HOME_READY): | $(READY)
	@mkdir -p "$(DAGSTER_HOME)"
	@cp dagster.yaml "$@"
	@$(BIN)/dagster instance info > /dev/null

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; try make PYTHON=python3.11"; exit 1; }
	@echo "Setting up .venv (some 6 GB, mostly torch; a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv
