"""The checks of trained_checkpoint, except for trained_on_newest_annotations."""

from __future__ import annotations

import math
from typing import Any

import torch

from jersey_assets.text import count, readable, shorten
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.evaluation import Evaluation, evaluate
from jersey_assets.verdict import Verdict

# Of the loss: valid is scored in full precision, which repeats closely.
_TOLERANCE = 1e-3

_RISE, _FALL = 0.03, 0.06
"""Of valid top-1 and of the valid loss, in the last quarter of the epochs. Part of it
comes from the falling learning rate alone: of the trainings in benchmarks/RECIPE.md,
the loss of those with little left to gain fell by 0.01 to 0.05, of the others by 0.07
to 0.15."""
_FEW = 5
"""A class with fewer valid crops is not judged by them."""


def verdicts(
    checkpoint: Checkpoint, summary: dict[str, Any], valid: Crops
) -> list[Verdict]:
    """Checks a checkpoint against its training summary on the valid crops."""
    seen = evaluate(checkpoint, "valid", valid)
    return [
        _weights_are_finite(checkpoint),
        _holds_ema_weights(checkpoint, summary, valid, seen),
        _beats_majority_class(summary, valid),
        _curve_is_flat(summary, valid),
        _no_class_is_left_behind(seen),
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
        message=f"there are NaN or infinite values in {', '.join(bad[:5])}"
        if bad
        else f"all {len(checkpoint.state_dict)} tensors are finite",
    )


def _holds_ema_weights(
    checkpoint: Checkpoint, summary: dict[str, Any], valid: Crops, seen: Evaluation
) -> Verdict:
    """The stored weights must score what the averaged weights scored in training."""
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
        message=f"on valid, state_dict scores top-1 {seen.top1:.4f} and loss "
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


def _curve_is_flat(summary: dict[str, Any], valid: Crops) -> Verdict:
    """Whether the training ended when there was little left to learn."""
    gained, top1 = summary["last_quarter"], summary["valid_top1"]
    if gained is None:
        passed, message = False, count(summary["epochs"], "epoch is", "epochs are")
        message += " too few to judge"
    else:
        # Two standard errors of top-1; the loss varies far less by chance.
        chance = 2 * math.sqrt(top1 * (1 - top1) / len(valid))
        rise, fall = gained["top1_rise"], gained["loss_fall"]
        passed = rise <= max(_RISE, chance) and fall <= _FALL
        message = (
            f"in the last quarter of the epochs the best valid top-1 rose by "
            f"{rise:.1%} to {top1:.1%}, and the lowest valid loss fell by {fall:.3f}"
        )
    if not passed:
        message += (
            "; a longer training would probably read more: set epochs to about "
            f"{2 * summary['epochs']}"
        )
    return Verdict("curve_is_flat", passed, message, severity="warning")


def _no_class_is_left_behind(seen: Evaluation) -> Verdict:
    """Whether each class is read at least half as often as classes are on average."""
    confusion = seen.confusion()
    counts, right = confusion.sum(1), confusion.diagonal()
    shown = counts > 0
    least = float((right[shown] / counts[shown]).mean()) / 2
    behind = [
        f'"{readable(shorten(label))}": {hits} of {count}'
        for label, count, hits in zip(seen.labels, counts, right, strict=True)
        if count >= _FEW and hits / count < least
    ]
    return Verdict(
        "no_class_is_left_behind",
        passed=not behind,
        message=f"the accuracy of each label with {_FEW} valid crops or more is at "
        f"least {least:.0%}, half of the labels' average"
        if not behind
        else f"labels with a valid accuracy below {least:.0%}, half of the labels' "
        f"average: {', '.join(behind[:10])}"
        + (f" and {len(behind) - 10} more" if behind[10:] else "")
        + "; add crops of them, or set sampler: sqrt",
        severity="warning",
    )
