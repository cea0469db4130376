"""The tests of significance against exact values."""

from __future__ import annotations

import pytest

from jersey_assets.release.significance import mcnemar, wilson


@pytest.mark.parametrize(
    ("lost", "won", "chance"),
    [(0, 0, 1.0), (1, 0, 0.5), (5, 0, 1 / 32), (0, 5, 1.0), (3, 1, 5 / 16)],
)
def test_mcnemar_is_the_exact_binomial_tail(lost: int, won: int, chance: float) -> None:
    assert mcnemar(lost, won) == pytest.approx(chance)


@pytest.mark.parametrize(
    ("right", "crops", "low", "high"),
    # At the ends z² / (n + z²) away from 0 and 1.
    [(0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_stays_within_0_and_1_and_is_wide_for_few_crops(
    right: int, crops: int, low: float, high: float
) -> None:
    assert wilson(right, crops) == pytest.approx((low, high), abs=1e-4)


def test_the_exact_test_ends_on_a_hundred_thousand_crops() -> None:
    assert mcnemar(50_000, 50_000) == pytest.approx(0.5, abs=0.01)
    assert mcnemar(49_000, 51_000) > 0.999
    assert mcnemar(51_000, 49_000) < 1e-9
