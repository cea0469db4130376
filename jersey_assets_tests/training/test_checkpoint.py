"""Checkpoint files: whole and harmless, or refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from jersey_assets.training.checkpoint import CheckpointError, load_checkpoint
from jersey_assets.training.result import Training
from jersey_assets_tests.training.quick import Hostile


def test_a_file_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path,
) -> None:
    torch.save({"state_dict": Hostile(tmp_path / "ran")}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match="refused"):
        load_checkpoint(tmp_path / "model.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "plain.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" * 10])
def test_a_file_that_is_no_checkpoint_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "model.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "model.ckpt")


def test_a_cut_file_is_refused(training: Training, tmp_path: Path) -> None:
    training.checkpoint.save(tmp_path / "model.ckpt")
    data = (tmp_path / "model.ckpt").read_bytes()
    (tmp_path / "model.ckpt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        load_checkpoint(tmp_path / "model.ckpt")


def test_a_missing_file_and_a_missing_part_are_named(
    training: Training, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(tmp_path / "none.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "part.ckpt")
    with pytest.raises(CheckpointError, match="recipe"):
        load_checkpoint(tmp_path / "part.ckpt")


def test_weights_of_another_network_are_refused(training: Training) -> None:
    from dataclasses import replace

    fewer = replace(training.checkpoint, labels=training.checkpoint.labels[:-1])
    with pytest.raises(CheckpointError, match="do not fit"):
        fewer.build_model()


def test_a_checkpoint_that_is_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match=r"model\.ckpt: not a regular file"):
        load_checkpoint(path)
