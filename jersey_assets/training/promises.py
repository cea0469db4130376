"""What a trained checkpoint promises, checked by behaviour."""

from __future__ import annotations

from typing import Any

import torch

from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.crops import Crops
from jersey_assets.training.evaluation import evaluate
from jersey_assets.verdict import Verdict

# Of the loss: valid is scored in full precision, which repeats closely.
_TOLERANCE = 1e-3


def verdicts(
    checkpoint: Checkpoint, summary: dict[str, Any], valid: Crops
) -> list[Verdict]:
    """Checks a checkpoint against its training summary on the valid crops."""
    return [
        _weights_are_finite(checkpoint),
        _holds_ema_weights(checkpoint, summary, valid),
        _beats_majority_class(summary, valid),
    ]


def _weights_are_finite(checkpoint: Checkpoint) -> Verdict:
    bad = [
        name
        for name, value in checkpoint.state_dict.items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    return Verdict(
        "weights_are_finite",
        passed=not bad,
        message=f"NaN or infinite values in {', '.join(bad[:5])}"
        if bad
        else f"all {len(checkpoint.state_dict)} tensors are finite",
    )


def _holds_ema_weights(
    checkpoint: Checkpoint, summary: dict[str, Any], valid: Crops
) -> Verdict:
    """The stored weights must score what the averaged weights scored in training."""
    seen = evaluate(checkpoint, "valid", valid)
    raw = evaluate(checkpoint, "valid", valid, raw=True)
    expected_top1, expected_loss = summary["valid_top1"], summary["valid_loss"]
    tolerance = _TOLERANCE * max(1.0, expected_loss)
    miss, raw_miss = abs(seen.loss - expected_loss), abs(raw.loss - expected_loss)
    reproduced = (
        miss <= tolerance
        and miss <= raw_miss + tolerance / 10
        and abs(seen.top1 - expected_top1) <= max(1.5 / len(valid), tolerance)
    )
    averaged = any(
        not torch.equal(value, checkpoint.raw_state_dict[name])
        for name, value in checkpoint.state_dict.items()
    )
    return Verdict(
        "checkpoint_holds_ema_weights",
        passed=reproduced and averaged and checkpoint.ema_step > 0,
        message=f"on valid, state_dict scores top-1 {seen.top1:.4f}, loss "
        f"{seen.loss:.4f}; in training the averaged weights scored "
        f"{expected_top1:.4f} and {expected_loss:.4f}; the raw weights score "
        f"{raw.top1:.4f} and {raw.loss:.4f}"
        + ("" if averaged else "; state_dict and the raw weights are the same"),
        facts={"top1": seen.top1, "loss": seen.loss, "raw_loss": raw.loss},
    )


def _beats_majority_class(summary: dict[str, Any], valid: Crops) -> Verdict:
    majority = float(valid.targets.bincount().max()) / len(valid)
    return Verdict(
        "beats_majority_class",
        passed=summary["valid_top1"] > majority,
        message=f"valid top-1 {summary['valid_top1']:.4f}; always answering the most "
        f"frequent label gives {majority:.4f}",
        severity="warning",
        facts={"majority": majority},
    )
