"""output_is_logits: the output holds unnormalised scores from a linear layer.

A graph can call softmax probabilities `logits`, so the values are checked.
"""

from __future__ import annotations

import numpy as np

from jersey_assets.export.contract.graph_is_valid import signature_faults
from jersey_assets.export.contract.judging import judge
from jersey_assets.export.contract.observation import Observation
from jersey_assets.export.contract.questions import BESIDE_NAN
from jersey_assets.export.tolerance import (
    RELATIVE_ROUNDING,
    Numbers,
    largest_error,
    within,
)
from jersey_assets.verdict import Verdict


def judge_logits(seen: Observation, reference: Numbers | None) -> Verdict:
    """Judges the scores.

    Args:
        seen: of the model.
        reference: the checkpoint's logits for all pictures, if known.
    """
    faults = value_faults(seen, reference) + _nan_faults(seen)
    return judge("output_is_logits", faults, lambda: logits_praise(seen))


def value_faults(seen: Observation, reference: Numbers | None) -> list[str]:
    """What is wrong with the scores of ordinary pictures."""
    answer = seen.scores()
    if answer is None:
        return seen.unanswered()
    rows, logits = answer[0].rows, answer[1]
    if logits.ndim != 2 or logits.dtype != np.float32 or not logits.size:
        expected = f"float32 [{len(rows)}, n]"
        return [f"{logits.dtype} of shape {logits.shape}; expected {expected}"]
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).any(axis=1).sum())
        return [f"scores are NaN or infinite for {bad} of {len(rows)} ordinary inputs"]
    faults = signature_faults("logits", ("batch", "classes"), seen.outputs)
    faults += _normalization_faults(logits.astype(np.float64))
    if reference is not None:
        faults += _disguise_faults(logits, reference[rows])
    return faults + list(seen.score_faults)


def logits_praise(seen: Observation) -> str:
    """What was seen of scores without a fault."""
    answer = seen.scores()
    assert answer is not None
    logits = answer[1]
    return (
        "finite, unnormalised scores from a linear layer: "
        f"{logits.min():.3g} to {logits.max():.3g}, rows summing to "
        f"{logits.sum(axis=1).min():.3g} to {logits.sum(axis=1).max():.3g} "
        "(probabilities would be in 0..1, log-probabilities have a log-sum-exp of 0)"
    )


def _normalization_faults(logits: Numbers) -> list[str]:
    """Recognizes probabilities and log-probabilities by invariants of their rows."""
    rounding = RELATIVE_ROUNDING * max(1.0, float(np.abs(logits).max()))
    if np.ptp(logits, axis=0).max() == 0:
        return ["the scores are the same for every input: the image is not used"]
    if logits.min() >= 0 and logits.max() <= 1 + rounding:
        sums = logits.sum(axis=1)
        kind = "softmax" if within(sums, 1.0, rounding) else "sigmoid"
        return [
            f"all {logits.size} scores are in 0..1 (rows sum to {sums.min():.4g} to "
            f"{sums.max():.4g}): {kind} probabilities, not logits"
        ]
    top = logits.max(axis=1, keepdims=True)
    totals = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    # Small scores of a young network have nearly constant sums too; at 0, none do.
    shifted = np.ptp(totals) <= rounding and np.ptp(logits) >= 1
    if within(totals, 0.0, rounding) or shifted:
        return [
            f"each row's log-sum-exp is {totals.mean():.4g}: log-probabilities "
            "(log_softmax), not logits"
        ]
    return []


def _disguise_faults(logits: Numbers, scores: Numbers) -> list[str]:
    """Recognizes a known function of the checkpoint's own scores."""
    if scores.shape != logits.shape or np.isnan(scores).any():
        return []
    top = scores.max(axis=1, keepdims=True)
    log_softmax = scores - top
    log_softmax -= np.log(np.exp(log_softmax).sum(axis=1, keepdims=True))
    disguises = {
        "softmax": np.exp(log_softmax),
        "log_softmax": log_softmax,
        "sigmoid": np.exp(-np.logaddexp(0, -scores)),
        "log_sigmoid": -np.logaddexp(0, -scores),
        "tanh": np.tanh(scores),
        "relu": np.maximum(scores, 0),
    }
    plain = largest_error(logits, scores)
    return [
        f"the answers are {name} of the checkpoint's logits"
        for name, values in disguises.items()
        if 100 * largest_error(logits, values) < plain
    ]


def _nan_faults(seen: Observation) -> list[str]:
    answer = seen.answers.get(BESIDE_NAN)
    if answer is None:
        return []  # not NaN's fault, or a fault of the batch axis
    if not np.isnan(answer[list(seen.asked()[BESIDE_NAN].nan)]).all():
        return ["an input of NaN gives finite scores: bad input is hidden"]
    return []
