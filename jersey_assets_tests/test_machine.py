"""What Linux alone offers is used where it is, and done without where it is not."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from jersey_assets import machine
from jersey_assets.annotations.images import measure_pool
from jersey_assets.annotations.progress import Progress
from jersey_assets.annotations.rules import Rules
from jersey_assets.training.data import crops


@pytest.fixture(params=["there", "hidden"])
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Hides what only Linux has, as another system would."""
    if request.param == "hidden":
        monkeypatch.delattr(os, "sched_getaffinity")
        monkeypatch.delattr(os, "posix_fallocate")
        monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    return str(request.param)


def test_cores_are_counted(calls: str) -> None:
    expected = os.cpu_count() if calls == "hidden" else len(os.sched_getaffinity(0))
    assert machine.usable_cpus() == expected


def test_a_file_gets_its_length_and_its_blocks(calls: str, tmp_path: Path) -> None:
    size = (2 << 20) + 17
    with (tmp_path / "file").open("w+b") as file:
        machine.allocate(file.fileno(), size)
        assert file.read() == bytes(size)
        status = os.fstat(file.fileno())
    assert status.st_size == size
    assert status.st_blocks * 512 >= size


def test_a_file_that_does_not_fit_is_an_error_at_once(
    calls: str, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with (
            (tmp_path / "file").open("wb") as file,
            pytest.raises(OSError, match=os.strerror(errno.EFBIG)),
        ):
            machine.allocate(file.fileno(), 3 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_crops_past_the_memory_lie_in_a_file(
    calls: str, rendered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = next((rendered / "valid").rglob("*.jpg")).read_bytes()
    table = pd.DataFrame({"label": ["8", "", "8"], "png": [file] * 3})
    mapping = {"": 0, "8": 1}
    in_memory = crops.load_drawn(table, mapping, 16)
    monkeypatch.setattr(crops, "_IN_MEMORY", 0)
    held = crops.load_drawn(table, mapping, 16)
    assert held.images.shape == (3, 3, 16, 16)
    assert torch.equal(held.images, in_memory.images)
    held.images[:] = 7
    assert int(held.images.sum()) == 7 * held.images.numel()


def test_images_are_measured_in_processes(
    calls: str, rendered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(
        path.relative_to(rendered).as_posix()
        for path in (rendered / "valid").rglob("*.jpg")
    )
    assert paths
    unused = np.zeros((len(paths), 5), np.int64)
    monkeypatch.setattr(measure_pool, "_FEW", 0)
    found = measure_pool.probe_all(str(rendered), paths, unused, Rules(), Progress())
    assert not found.faults
    assert np.all(found.values["width"] > 0)


def test_a_process_goes_on_where_nobody_can_be_asked_for_a_signal() -> None:
    script = (
        "import ctypes, signal\n"
        "ctypes.CDLL = lambda _: object()\n"
        "from jersey_assets.machine import end_with_parent\n"
        "end_with_parent(signal.SIGKILL)\n"
        "print('goes on')\n"
    )
    said = subprocess.check_output([sys.executable, "-c", script])
    assert said == b"goes on\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked")
def test_a_process_ends_with_its_parent() -> None:
    child = (
        "import signal, sys, time\n"
        "from jersey_assets.machine import end_with_parent\n"
        "end_with_parent(signal.SIGKILL)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]],"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    # The pipe closes when the last process that holds it has ended: the child.
    reading, writing = os.pipe()
    started = subprocess.Popen(
        [sys.executable, "-c", parent, child], pass_fds=[writing]
    )
    os.close(writing)
    assert started.wait() == -signal.SIGKILL
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b""
