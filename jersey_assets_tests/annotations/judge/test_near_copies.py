"""The search for near hashes finds every pair that comparing all pairs finds."""

from __future__ import annotations

import numpy as np
import pytest

from jersey_assets.annotations.judge.near_copies import RADIUS, nearest_pairs


def all_pairs(left: np.ndarray, right: np.ndarray) -> set[tuple[int, int]]:
    distance = np.bitwise_count(left[:, None] ^ right[None, :])
    return set(map(tuple, np.argwhere(distance <= RADIUS).tolist()))


def found_pairs(
    left: np.ndarray, right: np.ndarray, count: int = 5000
) -> set[tuple[int, int]]:
    pairs = nearest_pairs(left, right, count).tolist()
    assert len(pairs) == len(set(map(tuple, pairs)))
    return set(map(tuple, pairs))


@pytest.mark.parametrize("flips", [0, 1, 4, 9, 10, 11, 20])
def test_pairs_up_to_the_radius_are_found_and_no_others(flips: int) -> None:
    rng = np.random.default_rng(flips)
    left = rng.integers(0, 2**64, 500, np.uint64)
    right = rng.integers(0, 2**64, 3000, np.uint64)
    for position in range(400):
        bits = rng.choice(64, flips, replace=False)
        flip = np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64))
        right[position] = left[position] ^ (flip if flips else np.uint64(0))
    pairs = found_pairs(left, right)
    assert pairs == all_pairs(left, right)
    assert (len(pairs) >= 400) == (flips <= RADIUS)


def test_only_the_nearest_few_of_a_crowd_are_kept() -> None:
    rng = np.random.default_rng(0)
    crowd = np.uint64(0x0F0F) ^ (
        np.uint64(1) << rng.integers(0, 64, 1500).astype(np.uint64)
    )
    pairs = nearest_pairs(crowd, crowd, 3)
    assert np.array_equal(np.bincount(pairs[:, 0]), np.full(1500, 3))
    distance = np.bitwise_count(crowd[pairs[:, 0]] ^ crowd[pairs[:, 1]])
    assert distance.max() <= 2
    assert (distance.reshape(-1, 3)[:, 0] == 0).all()
    assert found_pairs(crowd[:50], crowd) == all_pairs(crowd[:50], crowd)


def test_no_hashes_have_no_pairs() -> None:
    none = np.zeros(0, np.uint64)
    assert found_pairs(none, none) == set()
    assert found_pairs(none, np.ones(3, np.uint64)) == set()


@pytest.mark.slow
def test_a_crowd_costs_no_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    crowd = np.uint64(1) << rng.integers(0, 64, (2, 60_000)).astype(np.uint64)
    hashes = crowd[0] ^ crowd[1]
    pairs = nearest_pairs(hashes[:2000], hashes, 4)
    assert np.array_equal(np.bincount(pairs[:, 0]), np.full(2000, 4))
