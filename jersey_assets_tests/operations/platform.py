"""Daemon, webserver and code server on roots of their own, as an operator runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus

from jersey_assets.annotations.disk.fingerprint import fingerprint
from jersey_assets.storage.store import Store
from jersey_assets_tests.whole_graph import GOOD_RECIPE

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
