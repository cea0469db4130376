"""`make materialize` and its look at run config: real files, processes, signals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.test_utils import create_run_for_test

from jersey_assets.definitions import defs
from jersey_assets.graph.config import Settings
from jersey_assets.materialize import ConfigError, read_run_config
from jersey_assets.runs.liveness import tie
from jersey_assets_tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[1]
KNOBS = "ops:\n  trained_checkpoint:\n    config:\n      "
DATASET = "resources:\n  dataset:\n    config:\n      "


def config_file(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refused(*files: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_run_config(files)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            KNOBS + "epoch: 3",
            4,
            "`epoch` is not a setting of trained_checkpoint; did you mean `epochs`?",
        ),
        (
            KNOBS + "augmentation: {noize: 0.1}",
            4,
            "`noize` is not a setting of trained_checkpoint augmentation; did you mean "
            "`noise`?",
        ),
        ("1: x", 1, "names in run config are text; write '1'"),
        (
            "ops: &all\n  trained_checkpoint: *all",
            1,
            "refers to a value that contains it",
        ),
        (
            "loggers:\n  console:\n    config:\n      log_level: LOUD",
            4,
            "choose one of DEBUG, INFO, WARNING",
        ),
        (KNOBS + "epochs: 900000", 4, "`epochs` is 900000; it must be at least 1 and"),
        (KNOBS + "epochs: many", 4, 'is the text "many"; it must be a whole number'),
        (KNOBS + "epochs: {}", 4, "`epochs` is {}; it must be a whole number, at leas"),
        (KNOBS + "epochs: []", 4, "`epochs` is []; it must be a whole number"),
        (KNOBS + "learning_rate:", 4, "is empty; it must be a number, more than 0 and"),
        (KNOBS + "learning_rate: yes", 4, "is true; it must be a number, more than 0"),
        (KNOBS + "weights: {}", 4, "`weights` is {}; it must be text"),
        (DATASET + "root: {env: 3}", 4, "`env` is 3; it must be text"),
        (KNOBS + "learning_rate: 2e-3", 4, "it must be a number: write 0.002"),
        (KNOBS + "batch_size: true", 4, "`batch_size` is true; it must be a whole"),
        (KNOBS + "model: resnet19", 4, "choose one of jerseynet, resnet18, resnet34"),
        (KNOBS + "weights: ../x", 4, 'is the text "../x"; it must be text that match'),
        (KNOBS + "augmentation:\n        noise: 7", 5, "`noise` is 7; it must be at"),
        (KNOBS + "augmentation: 7", 4, "it must hold settings: warp_chance, rotation"),
        (
            KNOBS + "sampler: sqrt\n      class_weights: sqrt",
            3,
            "would correct the imbalance twice; set one of them to none",
        ),
        (
            "ops:\n  trained_checkpont: {}",
            2,
            "`trained_checkpont` is not an asset or op of the graph; did you mean "
            "`trained_checkpoint`?",
        ),
        (
            "ops:\n  trained_checkpoint:\n    epochs: 3",
            3,
            "it belongs under `ops: trained_checkpoint: config:`",
        ),
        ("epochs: 3", 1, "`epochs` is not a section of run config; it belongs under"),
        ("resource: {}", 1, "did you mean `resources`?"),
        (
            "resources: {datset: {}}",
            1,
            "`datset` is not a resource; did you mean `dataset`?",
        ),
        (DATASET + "rejected_budget: 2", 4, "`rejected_budget` is 2; it must be at "),
        (DATASET + "conflict_policy: x", 4, "choose one of reject, prefer_number"),
        (DATASET + "conflict: x", 4, "did you mean `conflict_policy`?"),
        ("loggers: {consol: {}}", 1, "did you mean `console`?"),
        ("execution: {config: {multiprocess: {}}}", 1, "`multiprocess` is not known"),
        ("ops: {}\nops: {}", 2, "`ops` is set for the second time"),
        ("a: [1\nb: 2", 2, "this is not YAML"),
        ("- 1", 1, "run config has sections"),
        ("ops:", 1, "`ops` is empty; it must hold settings"),
    ],
)
def test_a_fault_of_run_config_is_named_with_its_line_and_what_is_allowed(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    path = config_file(tmp_path, text)
    (fault,) = refused(path)
    assert fault.startswith(f"{path}:{line}: ")
    assert said in fault
    assert len(fault.removeprefix(str(path))) < 250


def test_of_several_files_the_one_at_fault_is_named(tmp_path: Path) -> None:
    first = config_file(tmp_path, KNOBS + "epochs: 0\n      seed: -1", "first.yaml")
    second = config_file(tmp_path, KNOBS + "epochs: 2", "second.yaml")
    (fault,) = refused(first, second)
    assert fault.startswith(f"{first}:5: `seed` is -1; it must be at least 0")
    both = refused(second, first)
    assert [line.partition(": ")[0] for line in sorted(both)] == [
        f"{first}:4",
        f"{first}:5",
    ]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.yaml") in refused(tmp_path / "none.yaml")[0]


@pytest.mark.parametrize("name", [path.name for path in ROOT.glob("presets/*.yaml")])
def test_every_preset_may_run(name: str) -> None:
    path = ROOT / "presets" / name
    assert read_run_config([path]) == yaml.safe_load(path.read_text())


def test_the_config_of_every_op_is_judged_by_its_model() -> None:
    for node in defs.resolve_implicit_global_asset_job_def().nodes:
        field = node.definition.config_field
        if field is not None and getattr(field.config_type, "fields", None):
            assert isinstance(field.config_type, Settings), node.name


def make(
    checkout: Path, tmp_path: Path, *variables: str
) -> tuple[list[str], dict[str, str]]:
    """A make command that sets nothing up, and an environment that says nothing."""
    ready = tmp_path / "ready"
    ready.touch()
    command = ["make", "-C", str(checkout), "materialize", f"READY={ready}"]
    command += [f"BIN={Path(sys.executable).parent}", *variables]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JERSEY_", "DAGSTER_", "MAKE", "MFLAGS"))
    }
    return command, kept | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def checkout(tmp_path: Path, rendered: Path) -> Path:
    """What make needs of this project, and a dataset, in folders with spaces."""
    folder = tmp_path / "my checkout"
    shutil.copytree(ROOT / "presets", folder / "presets")
    for name in ("Makefile", "dagster.yaml", "pyproject.toml", "requirements-dev.txt"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(rendered, folder / "My Data" / "it's")
    return folder


def test_make_ends_with_2_and_the_faults_before_anything_is_read(
    checkout: Path, tmp_path: Path
) -> None:
    config_file(checkout, KNOBS + "epoch: 3", "my config.yaml")
    command, environment = make(
        checkout, tmp_path, "CONFIG=my config.yaml", "DATA=nowhere"
    )
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "my config.yaml:4: `epoch` is not a setting" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (checkout / "artifacts").exists()


@pytest.fixture
def held_slot(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterRun]:
    """A run of this process that holds the only slot of the checkout's Dagster home."""
    home = checkout / ".dagster_home"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        run = create_run_for_test(instance, "retrain")
        tie(instance, run.run_id)
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default("gpu")
        claim = storage.claim_concurrency_slot("gpu", run.run_id, "trained_checkpoint")
        assert claim.is_claimed
        yield run


@pytest.mark.parametrize("whole_group", [True, False])
def test_a_run_that_waits_says_for_whom_and_ends_when_make_is_told_to(
    checkout: Path, tmp_path: Path, held_slot: dg.DagsterRun, whole_group: bool
) -> None:
    """Checkout, dataset, artifacts and Dagster home have spaces in their paths."""
    told = tmp_path / "told"
    command, environment = make(checkout, tmp_path, "DATA=My Data/it's")
    with told.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: "waits for" in told.read_text() or process.poll() is not None,
            "a word about the wait",
        )
        assert process.poll() is None, told.read_text()
        if whole_group:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        assert process.wait(PATIENCE_S) != 0
        # The run is over as well, not make alone: it holds the group's output no more.
        wait_until(lambda: "What to do next" in told.read_text(), "the summary")
        wait_until(lambda: not group_lives(process.pid), "the end of the run")
    finally:
        if group_lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    printed = told.read_text()
    assert printed.count("waits for") == 1
    assert f"trained_checkpoint of run {held_slot.run_id[:8]}" in printed
    assert f"(process {os.getpid()} on " in printed
    assert "terminate this run to stop waiting" in printed
    assert "the run failed: the run was terminated" in printed
    assert "Traceback" not in printed
    with dg.DagsterInstance.get() as instance:
        waited, _ = instance.get_runs()
        assert waited.status is dg.DagsterRunStatus.FAILURE
        (slot,) = instance.event_log_storage.get_concurrency_info("gpu").claimed_slots
        assert slot.run_id == held_slot.run_id
    assert (checkout / "artifacts" / "class_mapping" / "current.json").exists()


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
