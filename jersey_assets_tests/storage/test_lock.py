"""The lock between processes: one holder at a time, whatever becomes of it."""

from __future__ import annotations

import itertools
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jersey_assets.storage import lock
from jersey_assets.storage.lock import one_at_a_time

HOLDER = """
import sys, time
from pathlib import Path
from jersey_assets.storage.lock import one_at_a_time
path, run, seconds = sys.argv[1:]
with one_at_a_time(Path(path), run):
    print(time.monotonic(), flush=True)
    time.sleep(float(seconds))
    print(time.monotonic(), flush=True)
"""


def hold(path: Path, run: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(path), run, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_no_two_processes_are_in_it_at_once(tmp_path: Path) -> None:
    holders = [hold(tmp_path / "a" / "x.lock", f"run{n}", 0.3) for n in range(3)]
    spans = sorted(
        tuple(float(line) for line in holder.communicate()[0].split())
        for holder in holders
    )
    assert len(spans) == 3
    for (_, left), (entered, _) in itertools.pairwise(spans):
        assert left <= entered


def test_those_who_wait_say_for_whom_and_a_killed_holder_is_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.lock"
    holder = hold(path, "the-first-run", 600)
    assert holder.stdout is not None
    holder.stdout.readline()
    slept: list[float] = []

    def kill_on_third(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            holder.send_signal(signal.SIGKILL)
            holder.wait()

    monkeypatch.setattr(lock.time, "sleep", kill_on_third)
    with caplog.at_level(logging.INFO), one_at_a_time(path, "the-second-run"):
        assert "the-second-run" in path.read_text()
    assert len(slept) >= 3
    assert caplog.text.count("waiting for") == 1
    for fact in ("the-first-run", str(holder.pid), "since"):
        assert fact in caplog.text


def test_an_error_inside_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with pytest.raises(KeyError), one_at_a_time(path, "one"):
        raise KeyError
    with one_at_a_time(path, "two"):
        pass
