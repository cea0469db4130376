"""Work that is damaged, of another training, or cut off by a kill."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jersey_assets.training import resume
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.errors import Interrupted
from jersey_assets.training.result import Training
from jersey_assets_tests.training.killed import MOMENTS, tiny_fit
from jersey_assets_tests.training.resuming import KNOBS, assert_same


@pytest.fixture
def interrupted(run, interrupt_at, tmp_path: Path) -> Path:
    """The resume folder of a training that was interrupted in its second epoch."""
    interrupt_at(1, 1)
    with pytest.raises(Interrupted):
        run(tmp_path)
    (folder,) = tmp_path.iterdir()
    return folder


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("resume_*.ckpt", cut),
        ("resume_*.ckpt", flip_a_bit),
        ("epoch_*.ckpt", Path.unlink),
        ("state.json", cut),
        ("state.json", flip_a_bit),
    ],
)
def test_damaged_work_is_not_resumed_and_the_log_says_so(
    interrupted: Path, run, whole: Training, caplog, name: str, damage
) -> None:
    (path,) = interrupted.glob(name)
    damage(path)
    with caplog.at_level(logging.INFO):
        again = run(interrupted.parent)
    assert "resuming" not in caplog.text
    assert_same(again, whole)
    assert "starting from scratch" in caplog.text


@pytest.mark.parametrize("change", ["recipe", "label", "pixel", "code"])
def test_work_of_another_training_is_not_resumed(
    interrupted: Path, run, few: Crops, caplog, monkeypatch, change: str
) -> None:
    data, knobs = few, {}
    if change == "recipe":
        knobs = {"learning_rate": 0.002}
    elif change == "label":
        targets = few.targets.clone()
        targets[0] = (targets[0] + 1) % 3
        data = replace(few, targets=targets)
    elif change == "pixel":
        images = few.images.clone()
        images[0, 0, 0, 0] ^= 1
        data = replace(few, images=images)
    else:
        monkeypatch.setattr(resume, "code_version", lambda module: "other")
    with caplog.at_level(logging.INFO):
        run(interrupted.parent, data, epochs=KNOBS["epochs"], **knobs)
    reason = {"recipe": "recipe", "code": "code"}.get(change, "data")
    assert f"used other {reason}" in caplog.text
    assert "resuming" not in caplog.text


def test_work_that_was_moved_under_another_key_is_refused(
    interrupted: Path, run, caplog
) -> None:
    other = interrupted.parent / "other"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "code_version", lambda module: "other")
        run(other)
    (target,) = other.iterdir()
    shutil.rmtree(target)
    shutil.copytree(interrupted, target)
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.INFO):
        patch.setattr(resume, "code_version", lambda module: "other")
        run(other)
    assert "starting from scratch" in caplog.text
    assert "other code" in caplog.text


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Trainings that were killed while they saved, by the moment."""
    scratches, processes = {}, []
    for moment in MOMENTS:
        scratches[moment] = tmp_path_factory.mktemp("killed")
        module = "jersey_assets_tests.training.killed"
        command = [sys.executable, "-m", module, str(scratches[moment]), moment]
        processes.append(subprocess.Popen(command))
    assert [process.wait() for process in processes] == [-signal.SIGKILL] * 3
    return scratches


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_in_the_middle_of_a_save_leaves_work_to_resume(
    killed: dict[str, Path], moment: str, caplog
) -> None:
    (folder,) = killed[moment].iterdir()
    step = json.loads((folder / "state.json").read_text())["state"]["step"]
    assert step == (5 if moment == "before the clean-up" else 4)
    with caplog.at_level(logging.INFO):
        resumed = tiny_fit(killed[moment])
    assert f"resuming at epoch 2, step {step}" in caplog.text
    assert_same(resumed, tiny_fit(None))
