# make materialize | test | ui | bench: each sets up .venv first, if needed.

PYTHON ?= python3
PRESET ?= default
CONFIG ?=
DATA ?= $(JERSEY_DATA_ROOT)
PORT ?= 3000

# Empty: the dataset that the artifact root belongs to, else data/sample. A URL stays as
# it is; a path becomes absolute, for commands that run elsewhere. Paths may contain
# spaces, which make's own functions and targets do not support.
export JERSEY_DATA_ROOT := $(if $(DATA),$(if \
  $(findstring ://,$(DATA))$(filter /%,$(firstword $(DATA))),,$(CURDIR)/)$(DATA))
export JERSEY_ARTIFACT_ROOT ?= $(CURDIR)/artifacts
export DAGSTER_HOME ?= $(CURDIR)/.dagster_home

BIN := .venv/bin
READY := .venv/.ready

# Quotes a text as one word for the shell.
quoted = '$(subst ','\'',$1)'

.PHONY: setup lock home house materialize test test-slow test-all ui bench \
  bench-front-door bench-annotations bench-export bench-faults bench-predict \
  bench-sensor bench-store bench-training clean help

help:
	@echo "make materialize [DATA=folder] [PRESET=default|quick|gpu] [CONFIG=more.yaml]"
	@echo "make setup | test | test-all | ui [PORT=3000] | bench | clean (.venv only)"
	@echo "make lock (after changing the dependencies in pyproject.toml)"

materialize: home
	@$(BIN)/jersey-assets sample
	@exec $(BIN)/python -m jersey_assets.materialize \
	  -c $(call quoted,presets/$(PRESET).yaml) $(if $(CONFIG),-c $(call quoted,$(CONFIG)))

setup: home

test: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	VIRTUAL_ENV="$$PWD/.venv" $(BIN)/dg check defs
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/pytest -m slow --timeout 1800 -n 2 --dist loadfile

test-all: test test-slow

# The picture in docs/ARCHITECTURE.md; fails if an import points up.
house: $(READY)
	$(BIN)/python docs/draw_house.py docs/house.png

ui: home
	@$(BIN)/jersey-assets sample
	@cmp -s dagster.yaml "$$DAGSTER_HOME/dagster.yaml" || \
	  echo "Note: $$DAGSTER_HOME/dagster.yaml differs from this version's; compare them"
	@exec $(BIN)/python -m jersey_assets.webserver --port $(PORT) --daemon

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
	$(BIN)/python -m benchmarks.faults $(if $(FAULT),--only $(call quoted,$(FAULT)))

# BENCH_DATA: the dataset root to train on, a drawn one by default.
bench-training: $(READY)
	$(BIN)/python -m benchmarks.training \
	  $(if $(BENCH_DATA),--data $(call quoted,$(BENCH_DATA)))

# Some 600 kills, and every call of a publish made to fail in turn: a few minutes.
bench-store: $(READY)
	$(BIN)/python -m benchmarks.store

bench-predict: $(READY)
	$(BIN)/python -m benchmarks.predict

# With CHECKPOINT=model.ckpt, also what int8 changes on the dataset in DATA.
bench-export: $(READY)
	$(BIN)/python -m benchmarks.export \
	  $(if $(CHECKPOINT),--checkpoint $(call quoted,$(CHECKPOINT)) \
	  --data "$${JERSEY_DATA_ROOT:-data/sample}")

# Two Dagster processes that start at once on a new home can corrupt it: create it here.
home: $(READY)
	@[ -e "$$DAGSTER_HOME/dagster.yaml" ] || { mkdir -p "$$DAGSTER_HOME" && \
	  cp dagster.yaml "$$DAGSTER_HOME" && $(BIN)/dagster instance info > /dev/null; }

# constraints.txt holds the pins, for -c; a pin stays until its line is removed there.
# requirements.txt (what running needs) and requirements-dev.txt (everything) hold the
# same pins with the digests of all their files.
COMPILE = @$(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
  --no-annotate --custom-compile-command "make lock" pyproject.toml

lock: $(READY)
	$(COMPILE) --extra dev -o constraints.txt
	$(COMPILE) --generate-hashes -c constraints.txt --extra platform \
	  --extra s3 -o requirements.txt
	$(COMPILE) --generate-hashes -c constraints.txt --extra dev -o requirements-dev.txt

$(READY): pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo "Python 3.11 to 3.14 is needed; try make PYTHON=python3.11"; exit 1; }
	@echo "Setting up .venv (some 6 GB, mostly torch; a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --only-binary :all: --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf .venv
