"""Statistics of right answers: the exact McNemar test and Wilson's interval."""

from __future__ import annotations

import math

_Z95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""


def mcnemar(lost: int, won: int) -> float:
    """Chance of losing at least this many of the crops that two readers differ on,
    if both are equally good: exact one-sided test (McNemar, Psychometrika 12, 1947).

    Args:
        lost: crops that only the other reader reads.
        won: crops that only this one reads.
    """
    differing = lost + won
    ways, term = 0, math.comb(differing, lost)
    for k in range(lost, differing + 1):
        ways += term
        term = term * (differing - k) // (k + 1)
    return float(ways / 2**differing)


def wilson(right: int, crops: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy (Wilson, JASA 22, 1927).

    Args:
        right: crops that were read right.
        crops: all of them, at least one.

    Returns:
        Its ends, 0..1.
    """
    share, spread = right / crops, _Z95**2 / crops
    middle = (share + spread / 2) / (1 + spread)
    half = _Z95 * math.sqrt((share * (1 - share) + spread / 4) / crops) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
