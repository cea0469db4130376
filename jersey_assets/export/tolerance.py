"""The parity tolerance, and the distances that are compared with it.

All comparisons are in double precision and fail on NaN: `abs(a - b).max() > tolerance`
would let it through.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]

# How much a row's scores may change with the batch around it, as a share of the largest
# score: other kernels add in another order. float32 has 7 digits, and a deep network
# loses two or three of them.
RELATIVE_ROUNDING = 1e-4
# Four bits more than the error of PyTorch's own float32 on the same network and inputs:
# another order of summation, fused multiply-adds, Winograd convolutions.
ROUNDING_FACTOR = 16.0
ROUNDING_REASON = (
    "16 times the largest error that PyTorch's own float32 makes against float64 on "
    "the same network and crops: another order of summation is allowed, another "
    "network is not"
)
# None of our float32 networks comes near it; a PyTorch that multiplies in bfloat16
# does, and must not widen the tolerance.
_WIDEST = 1e-3


def largest_error(a: Numbers, b: Numbers) -> float:
    """Largest absolute difference; NaN if either has one."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
    return float(difference.max()) if difference.size else 0.0


def within(a: Numbers, b: Numbers | float, tolerance: float) -> bool:
    """Whether no two numbers differ by more than the tolerance; False for NaN."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
    return bool((difference <= tolerance).all())


def rounding_tolerance(single: Numbers, double: Numbers) -> float:
    """Derives the tolerance between two float32 implementations of one network.

    Args:
        single: PyTorch's float32 logits.
        double: the same network's in float64.

    Returns:
        An absolute tolerance, at least the spacing of the scores' own digits and at
        most a thousandth of the largest score.
    """
    scale = float(np.abs(double).max(initial=0))
    spacing = float(np.finfo(np.float32).eps) * scale
    rounding = ROUNDING_FACTOR * max(largest_error(single, double), spacing)
    return min(rounding, _WIDEST * scale)


def distance(answer: Numbers, reference: Numbers) -> dict[str, float | None]:
    """Absolute and relative error and cosine between logits [n, classes]."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(answer - reference)
        scale = np.abs(reference).max(axis=1)
        relative = difference.max(axis=1) / np.where(scale > 0, scale, 1.0)
        norms = np.linalg.norm(answer, axis=1) * np.linalg.norm(reference, axis=1)
        cosine = (answer * reference).sum(axis=1) / np.where(norms > 0, norms, 1.0)
    return {
        "max_abs_error": json_number(difference.max()),
        "mean_abs_error": json_number(difference.mean()),
        "max_relative_error": json_number(relative.max()),
        "cosine_min": json_number(cosine.min()),
    }


def agreement(answer: Numbers, reference: Numbers) -> float:
    """The share of rows, 0..1, with the same best class, if both are finite."""
    ours, theirs = top1(answer), top1(reference)
    return float(((ours == theirs) & (ours >= 0)).mean())


def top1(logits: Numbers) -> NDArray[np.int64]:
    """The best class of each row; -1 if the row is not finite."""
    best = np.nan_to_num(logits, nan=-np.inf).argmax(axis=1)
    return np.where(np.isfinite(logits).all(axis=1), best, -1)


def json_number(value: float) -> float | None:
    """The number, or None if JSON cannot represent it."""
    return float(value) if np.isfinite(value) else None
