"""Leakage: the same picture, or nearly the same, on two sides of a split.

Exact copies share the hash of their decoded pixels, however they are stored. Near
copies are found by 64-bit difference hashes within `RADIUS` bits: two such hashes agree
in one of four 16-bit bands up to two bits (pigeonhole), so each hash is looked up by
the 137 variants of each of its bands instead of being compared with all others. A
pair counts where the 32 x 32 grey thumbnails correlate, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

RADIUS = 10
"""Copies re-encoded, resized or slightly cropped stay within; others are 13 away."""

MIN_CORRELATION = 0.9

_CHUNK = 2048

_FLIPS = np.array(
    [
        sum(1 << bit for bit in bits)
        for count in range(RADIUS // 4 + 1)
        for bits in combinations(range(16), count)
    ],
    np.uint16,
)


def close_pairs(
    left: NDArray[np.uint64], right: NDArray[np.uint64]
) -> Iterator[NDArray[np.int64]]:
    """Find the pairs of hashes within `RADIUS` bits of each other.

    Yields:
        int64 arrays [n, 2] of positions in `left` and `right`, bounded in size; a pair
        may come more than once.
    """
    for band in range(4):
        keys = _band(right, band)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(65537))
        for begin in range(0, len(left), _CHUNK):
            queries = left[begin : begin + _CHUNK]
            variants = _band(queries, band)[:, None] ^ _FLIPS[None, :]
            first, last = starts[variants], starts[variants.astype(np.int64) + 1]
            for pairs in _expand(first, last):
                distance = np.bitwise_count(
                    queries[pairs[:, 0]] ^ right[order[pairs[:, 1]]]
                )
                near = pairs[distance <= RADIUS]
                if len(near):
                    yield np.column_stack((near[:, 0] + begin, order[near[:, 1]]))


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.uint16]:
    return (hashes >> np.uint64(16 * band)).astype(np.uint16)


def _expand(
    first: NDArray[np.int64], last: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Turn ranges per query into (query, position) pairs, a few million at a time."""
    counts = last - first
    row, column = np.nonzero(counts)
    counts, first = counts[row, column], first[row, column]
    ends = np.cumsum(counts)
    limit = 4_000_000
    begin = 0
    while begin < len(counts):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + limit, side="right")))
        part = counts[begin:end]
        query = np.repeat(row[begin:end], part)
        offset = np.arange(part.sum()) - np.repeat(np.cumsum(part) - part, part)
        yield np.column_stack((query, np.repeat(first[begin:end], part) + offset))
        begin = end
