"""What `make` hands on, and the presets that it names."""

from __future__ import annotations

import os
import re
import shlex
import subprocess

import pytest
import yaml

from jersey_assets_tests.commands.processes import ROOT


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ([], ""),
        (["DATA="], ""),
        (["DATA=data/mine"], str(ROOT / "data" / "mine")),
        (["DATA=s3://bucket/mine"], "s3://bucket/mine"),
    ],
)
def test_make_leaves_the_dataset_to_the_artifacts_unless_one_is_named(
    given: list[str], root: str
) -> None:
    show = 'show: ; @echo "[$$JERSEY_DATA_ROOT]"'
    ended = subprocess.run(
        ["make", "--no-print-directory", "--eval", show, "show", *given],
        cwd=ROOT,
        env={**os.environ, "JERSEY_DATA_ROOT": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == f"[{root}]\n"


@pytest.mark.parametrize("name", ["quick", "default", "gpu", "prefer_number"])
def test_every_preset_is_accepted_by_the_graph(name: str) -> None:
    import dagster as dg

    from jersey_assets.definitions import defs

    config = yaml.safe_load((ROOT / "presets" / f"{name}.yaml").read_text())
    assert dg.validate_run_config(defs.resolve_job_def("retrain"), config)


@pytest.mark.parametrize(
    ("target", "variable", "option"),
    [
        ("bench-training", "BENCH_DATA", "--data"),
        ("bench-faults", "FAULT", "--only"),
        ("bench-export", "CHECKPOINT", "--checkpoint"),
        ("materialize", "CONFIG", "-c"),
    ],
)
def test_make_passes_a_value_on_as_one_word(
    target: str, variable: str, option: str
) -> None:
    value = """it's `my` "data" (or | mine) *"""
    said = subprocess.run(
        ["make", "--dry-run", target, f"{variable}={value}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    words = shlex.split(said.stdout)
    assert words[words.index(value) - 1] == option


def test_make_trains_by_the_recipe_that_the_launchpad_and_the_sensor_have() -> None:
    said = subprocess.run(
        ["make", "--dry-run", "materialize"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (named,) = set(re.findall(r"presets/\w+\.yaml", said.stdout))
    assert named in (ROOT / "README.md").read_text()
    assert "ops" not in yaml.safe_load((ROOT / named).read_text())
