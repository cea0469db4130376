"""The sensor under a real daemon and webserver, as an operator runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.scheduler.instigation import TickStatus

from jersey_assets.annotations.disk.fingerprint import fingerprint
from jersey_assets.graph.training import NEWEST
from jersey_assets.rendering.dataset import render_dataset
from jersey_assets.storage.store import Store
from jersey_assets_tests.conftest import GOOD_RECIPE

ROOT = Path(__file__).parents[2]
STATUS = dg.DagsterRunStatus
PATIENCE_S = 600
# Tells two labels apart after seconds, well enough to be released.
RECIPE = GOOD_RECIPE | {"epochs": 12}
LAUNCH = """
mutation($config: RunConfigData) { launchRun(executionParams: {
  selector: {
    repositoryLocationName: "jersey_assets", repositoryName: "__repository__",
    jobName: "retrain"
  }, runConfigData: $config
}) { __typename ... on PythonError { message } } }
"""
START = """
mutation { startSensor(sensorSelector: {
  repositoryLocationName: "jersey_assets", repositoryName: "__repository__",
  sensorName: "new_annotations"
}) { __typename ... on PythonError { message } } }
"""


def preset(**knobs: object) -> dict[str, Any]:
    """Run config with some knobs of the recipe changed."""
    return {"ops": {"trained_checkpoint": {"config": RECIPE | knobs}}}


class Platform:
    """`dagster dev` on a home, a dataset and an artifact root of its own."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.data = folder / "data"
        self.store = Store(str(folder / "artifacts"))
        self.instance = instance
        self.log = folder / "log"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts daemon, webserver and code server."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [Path(sys.executable).with_name("dagster"), "dev"]
        command += ["-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )

    def turn_on(self) -> None:
        """Turns the sensor on, as its switch in the UI does."""
        self.wait_for(lambda: self.sends(START, "Sensor"), "the webserver")

    def launch(self, **recipe: object) -> None:
        """Launches a run, as the Launchpad does."""
        variables = {"config": preset(**recipe)}
        self.wait_for(
            lambda: self.sends(LAUNCH, "LaunchRunSuccess", variables), "a run"
        )

    def sends(self, query: str, wanted: str, variables: object = None) -> bool:
        """Whether the webserver answers with the type that is wanted."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            body,
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                data = json.load(answer)["data"]
        except OSError:
            return False
        return next(iter(data.values()))["__typename"] == wanted

    def kill(self) -> None:
        """Ends every process at once, as a power cut does."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def wait_for(self, holds: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > deadline:
                told = self.log.read_text(errors="replace")[-4000:]
                pytest.fail(f"waited in vain for {what}; {self.said()[:1]}\n{told}")
            time.sleep(0.5)

    def runs(self) -> list[dg.DagsterRun]:
        """Runs of the retraining job, newest first."""
        return list(self.instance.get_runs(dg.RunsFilter(job_name="retrain")))

    def said(self) -> list[str]:
        """What the sensor's ticks that have ended said, newest first."""
        for state in self.instance.all_instigator_state():
            if state.instigator_name == "new_annotations":
                ticks = self.instance.get_ticks(
                    state.instigator_origin_id, state.selector_id
                )
                return [
                    str(tick.skip_reason or tick.error or "")
                    for tick in ticks
                    if tick.status is not TickStatus.STARTED
                ]
        return []

    def ticks(self, number: int) -> None:
        """Waits for as many ticks."""
        already = len(self.said())
        self.wait_for(lambda: len(self.said()) >= already + number, "ticks")

    def quiet(self, runs: int) -> None:
        """Three more ticks lead to no other run than these."""
        self.ticks(3)
        assert len(self.runs()) == runs

    def settle(self, runs: int, *statuses: dg.DagsterRunStatus) -> None:
        """Waits until there are as many runs, the newest of which ended like this."""
        self.wait_for(
            lambda: (
                len(self.runs()) >= runs and all(r.is_finished for r in self.runs())
            ),
            f"run {runs}",
        )
        assert tuple(r.status for r in self.runs()[: len(statuses)]) == statuses
        self.quiet(runs)

    def released(self, releases: int) -> None:
        """The current release is of what lies there, and there are as many."""
        release = self.store.require("released_model")
        landed = fingerprint(self.data).digest
        assert release.manifest["dataset_fingerprint"] == landed
        assert len(self.store.versions("released_model")) == releases


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump(preset()))
    for name, value in {
        "DAGSTER_HOME": home,
        "JERSEY_DATA_ROOT": tmp_path / "data",
        "JERSEY_ARTIFACT_ROOT": tmp_path / "artifacts",
        "JERSEY_RETRAIN_CONFIG": tmp_path / "preset.yaml",
        "JERSEY_RETRAIN_WAIT_S": 1,
        "JERSEY_TICK_S": 1,
        "PYTHONPATH": ROOT,
    }.items():
        monkeypatch.setenv(name, str(value))
    with dg.DagsterInstance.get() as instance:
        made = Platform(tmp_path, instance)
        try:
            yield made
        finally:
            made.kill()


def draw(folder: Path, seed: int = 1) -> Path:
    """Draws some 150 crops of jerseys without a number and with an 8."""
    render_dataset(folder, train=600, valid=150, test=150, seed=seed)
    for file in folder.glob("*/annotations.jsonl"):
        rows = file.read_text().splitlines(keepends=True)
        kept = [row for row in rows if json.loads(row)["suffix"] in ("", "8")]
        file.write_text("".join(kept))
    return folder / "train" / "annotations.jsonl"


def failing_check(instance: dg.DagsterInstance) -> str:
    key = dg.AssetCheckKey(dg.AssetKey("trained_checkpoint"), NEWEST)
    storage = instance.event_log_storage
    (record,) = storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    assert record.event.dagster_event is not None
    found = record.event.dagster_event.asset_check_evaluation_data
    assert not found.passed
    return str(found.description)


@pytest.mark.slow
def test_annotations_that_do_not_hold_make_one_run_and_no_training(
    platform: Platform,
) -> None:
    file = draw(platform.data)
    file.write_text(file.read_text().replace('"suffix": "', '"suffix": "x'))
    platform.start()
    platform.turn_on()
    platform.settle(1, STATUS.FAILURE)
    assert "rejected_rows_within_budget" in platform.said()[0]
    assert "rejected_rows_within_budget" in failing_check(platform.instance)
    assert not platform.store.versions("trained_checkpoint")


@pytest.mark.slow
def test_annotations_that_land_in_a_year(platform: Platform, tmp_path: Path) -> None:
    """Each way of landing leads to its runs and its release, and to no other."""
    (platform.data / "train").mkdir(parents=True)
    platform.start()
    platform.turn_on()
    platform.ticks(3)

    # The first annotations land: crops before the files that name them.
    drawn = draw(tmp_path / "drawn")
    shutil.copytree(
        tmp_path / "drawn",
        platform.data,
        ignore=shutil.ignore_patterns("*.jsonl"),
        dirs_exist_ok=True,
    )
    for split in ("valid", "test", "train"):
        name = f"{split}/annotations.jsonl"
        shutil.copy(tmp_path / "drawn" / name, platform.data / name)
    platform.settle(1, STATUS.SUCCESS)
    platform.released(1)

    # A file is written slowly, in place: nothing happens until it stays as it is.
    file = platform.data / "train" / "annotations.jsonl"
    lines = drawn.read_text().splitlines(keepends=True)
    more = file.with_name("more.jsonl")
    text = "".join(lines[:5]).replace('"suffix"', '"note": "again", "suffix"')
    file.write_text("".join(lines[5:]))
    with more.open("w") as writing:
        for character in range(0, len(text), 40):
            writing.write(text[character : character + 40])
            writing.flush()
            time.sleep(0.5)
            assert len(platform.runs()) == 1
    platform.settle(2, STATUS.SUCCESS)
    platform.released(2)

    # A file is replaced by another one.
    other = file.with_name(".annotations.part")
    other.write_text("".join(lines[10:]))
    other.replace(file)
    platform.settle(3, STATUS.SUCCESS)
    platform.released(3)

    # The same content is written again, replaced by itself, touched.
    file.write_bytes(file.read_bytes())
    shutil.copy(file, other)
    other.replace(file)
    os.utime(file)
    platform.quiet(3)

    # The power is cut during a training, and comes back.
    file.write_text("".join(lines[15:]))
    lock = platform.store.scratch() / "training.lock"
    lock.write_text("")
    platform.wait_for(lock.read_text, "a training")
    platform.kill()
    assert platform.runs()[0].status is STATUS.STARTED
    platform.start()
    platform.settle(5, STATUS.SUCCESS, STATUS.FAILURE)
    platform.released(4)

    # Annotations that do not hold: one run, which trains nothing.
    good = file.read_text()
    trained = platform.store.versions("trained_checkpoint")
    file.write_text(good.replace('"suffix": "', '"suffix": "x'))
    platform.settle(6, STATUS.FAILURE)
    assert "rejected_rows_within_budget" in platform.said()[0]
    assert failing_check(platform.instance)
    assert platform.store.versions("trained_checkpoint") == trained

    # Put back as they were, and then as they were before that.
    file.write_text(good)
    platform.quiet(6)
    file.write_text("".join(lines[10:]))
    platform.settle(7, STATUS.SUCCESS)
    platform.released(4)


def training_spans(instance: dg.DagsterInstance) -> list[tuple[float, float]]:
    """When the trainings that ended well began and ended, in this order."""
    runs = instance.get_runs(dg.RunsFilter(statuses=[STATUS.SUCCESS]))
    spans = []
    for run in runs:
        (step,) = instance.get_run_step_stats(run.run_id, ["trained_checkpoint"])
        assert step.start_time
        assert step.end_time
        spans.append((step.start_time, step.end_time))
    return sorted(spans)


@pytest.mark.slow
def test_queued_runs_train_one_at_a_time_and_outlive_a_killed_one(
    platform: Platform,
) -> None:
    draw(platform.data)
    platform.start()
    for epochs in (200, 12, 13):
        platform.launch(epochs=epochs)
    lock = platform.store.scratch() / "training.lock"
    platform.wait_for(lambda: lock.exists() and lock.read_text(), "a training")
    holder = json.loads(lock.read_text())
    time.sleep(5)
    assert json.loads(lock.read_text()) == holder
    os.kill(holder["pid"], signal.SIGKILL)
    platform.wait_for(lambda: all(r.is_finished for r in platform.runs()), "the runs")
    ended = {run.run_id: run.status for run in platform.runs()}
    assert ended.pop(holder["run"]) is STATUS.FAILURE
    assert list(ended.values()) == [STATUS.SUCCESS, STATUS.SUCCESS]
    (_, first_end), (second_start, _) = training_spans(platform.instance)
    assert first_end <= second_start


@pytest.mark.slow
def test_two_commands_at_once_train_one_after_the_other(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a home of its own, so that no pool keeps them apart."""
    draw(platform.data)
    python = Path(sys.executable)
    select = [
        "--select",
        "+key:trained_checkpoint or key:rejected_annotations",
        "-m",
        "jersey_assets.definitions",
    ]
    commands = []
    for number in (1, 2):
        home = tmp_path / str(number)
        home.mkdir()
        shutil.copy(ROOT / "dagster.yaml", home)
        config = tmp_path / f"{number}.yaml"
        config.write_text(yaml.safe_dump(preset(epochs=12 + number)))
        monkeypatch.setenv("DAGSTER_HOME", str(home))
        command = [python.with_name("dagster"), "asset", "materialize", *select]
        commands.append(
            subprocess.Popen(
                [*command, "-c", str(config)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    told = [command.communicate()[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0], told
    assert sum("waiting for " in text for text in told) == 1
    assert len(platform.store.versions("trained_checkpoint")) == 2
