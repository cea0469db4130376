"""What tests of resumed trainings share."""

from __future__ import annotations

from dataclasses import replace

import torch

from jersey_assets.training.result import Training
from jersey_assets_tests.training.quick import SIZE

BATCHES, EPOCHS = 5, 3
# 5 batches, 2 per optimizer step: steps after batches 1, 3 and the last.
KNOBS = {
    "image_size": SIZE,
    "epochs": EPOCHS,
    "batch_size": 8,
    "accumulate": 2,
    "learning_rate": 0.003,
    "threads": 1,
}


def assert_same(one: Training, other: Training) -> None:
    """Weights to the bit, and everything else but the clock."""
    assert one.others.keys() == other.others.keys()
    pairs = [(one.checkpoint, other.checkpoint)]
    pairs += [(one.others[name], other.others[name]) for name in one.others]
    for a, b in pairs:
        for kind in ("state_dict", "raw_state_dict"):
            weights, others = getattr(a, kind), getattr(b, kind)
            assert weights.keys() == others.keys()
            for name, value in weights.items():
                assert torch.equal(value, others[name]), name
        bare = {"state_dict": {}, "raw_state_dict": {}, "sha256": ""}
        assert replace(a, **bare) == replace(b, **bare)
    columns = [name for name in one.history if name != "seconds"]
    assert one.history[columns].equals(other.history[columns])
    measured = ("seconds", "images_per_second", "train_images_per_second")
    clocks = dict.fromkeys([*measured, "peak_memory_mb"], 0)
    assert one.summary | clocks == other.summary | clocks
    assert one.confusions.keys() == other.confusions.keys()
    for epoch, counts in one.confusions.items():
        assert (counts == other.confusions[epoch]).all()
