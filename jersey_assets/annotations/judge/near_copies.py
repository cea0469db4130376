"""Finds near copies by their difference hashes, without comparing all pairs.

Copies that were encoded again, resized or slightly cropped have 64-bit difference
hashes within `RADIUS` bits of each other. Two such hashes agree in one of four 16-bit
bands up to two bits (pigeonhole), so each hash is looked up by the 137 variants of each
of its bands (multi-index hashing, Norouzi et al. 2012, arxiv.org/abs/1307.2982).
Candidates are judged by correlation afterwards, see `judgement`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

RADIUS = 10
"""Copies differ by at most this; other pictures differed by 13 bits or more."""

_QUERIES = 2048
_CANDIDATES = 1_000_000
_CROWD = 20_000
"""How many candidates per hash and band are compared, those of the same band first:
if more pictures look alike, some of their neighbours are named, not all."""

_BANDS = range(4)
_FLIPS = np.array(
    [
        sum(1 << bit for bit in bits)
        for count in range(RADIUS // 4 + 1)
        for bits in combinations(range(16), count)
    ],
    np.uint16,
)


def nearest_pairs(
    asking: NDArray[np.uint64], among: NDArray[np.uint64], count: int
) -> NDArray[np.int64]:
    """Find, for each hash, the nearest others within `RADIUS` bits.

    Args:
        asking: hashes to find neighbours of; best the smaller set.
        among: hashes to find them among.
        count: how many neighbours each may have, nearest first.

    Returns:
        int64 array [n, 2] of positions in `asking` and `among`, ordered by the first,
        then by distance. Memory stays bounded however crowded the hashes are.
    """
    tables = [_table(among, band) for band in _BANDS]
    found = [np.zeros((0, 3), np.int64)]
    for begin in range(0, len(asking), _QUERIES):
        queries = asking[begin : begin + _QUERIES]
        best = np.zeros((0, 3), np.int64)
        limit = np.full(len(queries), RADIUS)
        for band, (order, starts) in zip(_BANDS, tables, strict=True):
            ordered = among[order]
            for query, place in _candidates(_band(queries, band), starts):
                distance = np.bitwise_count(queries[query] ^ ordered[place])
                near = np.flatnonzero(distance <= limit[query])
                other = order[place[near]]
                more = np.column_stack((query[near], distance[near], other))
                best = _nearest(np.concatenate((best, more)), count)
                # A hash with enough neighbours looks only for nearer ones.
                last, first = best[count - 1 :], best[: max(0, len(best) - count + 1)]
                full = last[last[:, 0] == first[:, 0]]
                limit[full[:, 0]] = full[:, 1] - 1
        best[:, 0] += begin
        found.append(best)
    return np.concatenate(found)[:, [0, 2]]


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.uint16]:
    return (hashes >> np.uint64(16 * band)).astype(np.uint16)


def _table(
    hashes: NDArray[np.uint64], band: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Sort hashes by a band: their order, and where each of its values starts."""
    keys = _band(hashes, band)
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[order], np.arange(65537))
    return order, starts.astype(np.int32)


def _candidates(
    keys: NDArray[np.uint16], starts: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (query, place in the table) for all variants, in chunks of bounded size."""
    variants = keys[:, None] ^ _FLIPS[None, :]
    first, size = starts[variants], np.diff(starts)[variants]
    query, variant = np.nonzero(size)
    first, size = first[query, variant], size[query, variant]
    ends = np.cumsum(size)
    of_query = np.searchsorted(query, query)
    before = ends - size - (ends[of_query] - size[of_query])
    size = np.clip(_CROWD - before, 0, size)
    ends = np.cumsum(size)
    begin = 0
    while begin < len(size):
        done = ends[begin] - size[begin]
        end = max(begin + 1, int(np.searchsorted(ends, done + _CANDIDATES)))
        part = size[begin:end]
        offset = first[begin:end] - (ends[begin:end] - part - done)
        place = np.repeat(offset, part)
        place += np.arange(len(place), dtype=np.int32)
        yield np.repeat(query[begin:end], part), place
        begin = end


def _nearest(found: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Keep the nearest few of each query; rows are (query, distance, other)."""
    found = found[np.lexsort(found.T[::-1])]
    fresh = np.ones(len(found), bool)
    fresh[1:] = (found[1:] != found[:-1]).any(axis=1)
    found = found[fresh]
    start = np.searchsorted(found[:, 0], found[:, 0])
    return found[np.arange(len(found)) - start < count]
