"""Finds and ends runs that have lost their process, to kill -9 or a power cut.

Dagster does not end such a run until its maximum run time is over, and until then it
counts as under way. So each process that executes a run holds a lock file in the
Dagster home as long as it lives, and its runs are tagged with the file's name. The
kernel drops the lock however the process ends; process ids are not used, since they
repeat after a boot or in another container. A missing file proves nothing: the run may
live on a machine with another Dagster home.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import dagster as dg

from jersey_assets.files import sync
from jersey_assets.runs.dagster_internals import free_slots

PROCESS_TAG = "process_lock"
PLACE_TAG = "process"
_FOLDER = "processes"
_LOOK_S = 15.0

log = logging.getLogger(__name__)


def tie(instance: dg.DagsterInstance, run_id: str) -> None:
    """Tags a run with the lock that this process holds until it ends.

    A second tag shows people which process that is.
    """
    name, _ = _own_lock(_folder(instance))
    place = f"process {os.getpid()} on {socket.gethostname()}"
    instance.add_run_tags(run_id, {PROCESS_TAG: name, PLACE_TAG: place})


def end_lost_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Ends the runs whose process is gone, and frees what they held.

    Returns:
        The runs that were ended: as failed, or as canceled if they were canceling.
    """
    folder = _folder(instance)
    gone = {path.name for path in folder.glob("*.lock") if not _is_held(path)}
    status = dg.DagsterRunStatus
    begun = dg.RunsFilter(statuses=[status.STARTING, status.STARTED, status.CANCELING])
    lost = [run for run in instance.get_runs(begun) if _lock_of(run) in gone]
    for run in lost:
        message = "The run's process is gone: it was killed, or its machine went down."
        if run.status is status.CANCELING:
            instance.report_run_canceled(run, message)
        else:
            instance.report_run_failed(run, message)
        free_slots(instance, run.run_id)
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    return lost


@contextmanager
def lost_runs_ended(instance: dg.DagsterInstance) -> Iterator[None]:
    """Ends lost runs in the background, for a run that may wait for their slots."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(_LOOK_S):
            try:
                end_lost_runs(instance)
            except Exception:  # the run itself must not end because of this
                log.exception("cannot look for lost runs")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _folder(instance: dg.DagsterInstance) -> Path:
    return Path(instance.root_directory) / _FOLDER


def _lock_of(run: dg.DagsterRun) -> str:
    return run.tags.get(PROCESS_TAG, "")


@functools.cache
def _own_lock(folder: Path) -> tuple[str, TextIO]:
    """Name of this process's lock file, and the file, open until the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{uuid.uuid4().hex}.lock"
    new = folder / f"{name}.new"
    file = new.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    new.rename(folder / name)  # locked first, so it is never seen unlocked
    sync(folder)  # before a run names it, so that the file survives a power cut
    return name, file


def _is_held(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or unknown
        return True
    return False
