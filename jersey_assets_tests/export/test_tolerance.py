"""Distances between logits."""

from __future__ import annotations

import numpy as np

from jersey_assets.export.tolerance import distance


def test_errors_are_absolute_and_relative_to_the_largest_logit() -> None:
    reference = np.array([[2.0, -4.0], [0.0, 0.0]])
    found = distance(reference + np.array([[0.0, 1.0], [0.5, 0.0]]), reference)
    assert found["max_abs_error"] == 1.0
    assert found["mean_abs_error"] == 0.375
    # A row of zeros has no scale: its absolute error stands.
    assert found["max_relative_error"] == 0.5
