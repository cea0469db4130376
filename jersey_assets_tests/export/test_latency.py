"""Timing leaves the process as it was."""

from __future__ import annotations

import torch

from jersey_assets.export.latency import measure_latency
from jersey_assets.training.checkpoint import Checkpoint


def test_measuring_latency_leaves_torchs_threads_as_they_were(
    small: Checkpoint, small_bytes: bytes
) -> None:
    before = torch.get_num_threads()
    rows = measure_latency(small_bytes, small, seconds=0.0)
    assert torch.get_num_threads() == before
    assert all(row["images_per_second"] > 0 for row in rows)
