"""Caches image measurements, so that validating again measures only changed images.

The cache is a Parquet file that can be deleted at any time; one that is incomplete,
damaged or of another version is ignored. An entry is valid while the image file's
device, inode, size and both times are the same, and is kept only if the file had been
left alone for two seconds: within one tick of the clock a file could change without a
trace.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jersey_assets.annotations.images.measure import PROBED, SIGNATURE
from jersey_assets.annotations.rules import Rules

_SETTLED_NS = 2_000_000_000
"""How long a file must have been left alone before its measurement is kept."""

_SCHEMA = pa.schema(
    {"path": pa.large_string(), "probed": pa.binary(PROBED.itemsize)},
    {"version": f"3, Pillow {PIL.__version__}", "fields": str(PROBED)},
)


def load_cache(
    cache: Path,
    paths: Sequence[str],
    signatures: NDArray[np.int64],
    rules: Rules,
    values: NDArray[np.void],
) -> NDArray[np.bool_]:
    """Fill in the measurements of images that have not changed.

    Args:
        cache: the file.
        paths: real paths of the images.
        signatures: int64 [n, 5], from `stat` now.
        rules: entries beyond its limits are left to be probed.
        values: array of `PROBED` [n] to fill.

    Returns:
        bool [n]: which of them were filled.
    """
    table = _read(cache)
    if table is None or not len(table):
        return np.zeros(len(paths), bool)
    stored = table["probed"].combine_chunks()
    entries = np.frombuffer(stored.buffers()[1], PROBED)
    position = pc.index_in(
        pa.array(paths, pa.large_string()), value_set=table["path"].combine_chunks()
    )
    known: NDArray[np.bool_] = np.array(pc.is_valid(position))
    found = entries[pc.fill_null(position, 0).to_numpy(zero_copy_only=False)]
    for number, name in enumerate(SIGNATURE):
        known &= found[name] == signatures[:, number]
    known &= found["bytes"] <= rules.max_image_bytes
    known &= found["width"].astype(np.int64) * found["height"] <= rules.max_pixels
    values[known] = found[known]
    return known


def store_cache(
    cache: Path,
    paths: Sequence[str],
    values: NDArray[np.void],
    good: NDArray[np.bool_],
    probed_ns: int,
) -> None:
    """Write the measurements; if the cache cannot be written, that is only logged.

    Args:
        cache: the file, replaced whole.
        paths: real paths of the images.
        values: array of `PROBED` [n].
        good: bool [n], which of them hold a measurement.
        probed_ns: when probing began, nanoseconds since 1970.
    """
    changed = np.maximum(values["mtime_ns"], values["ctime_ns"])
    kept = np.flatnonzero(good & (probed_ns - changed >= _SETTLED_NS))
    blob = pa.py_buffer(np.ascontiguousarray(values[kept]).tobytes())
    columns = [
        pa.array(paths, pa.large_string()).take(pa.array(kept)),
        pa.Array.from_buffers(_SCHEMA.field("probed").type, len(kept), [None, blob]),
    ]
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
            fresh = Path(folder) / "cache"
            pq.write_table(
                pa.Table.from_arrays(columns, schema=_SCHEMA),
                fresh,
                compression="none",
                use_dictionary=False,
                write_page_checksum=True,
            )
            os.replace(fresh, cache)
    except OSError as error:
        logging.getLogger(__name__).warning("cannot write %s: %s", cache, error)


def _read(cache: Path) -> pa.Table | None:
    """Read the file; None if it is missing or not what was written."""
    try:
        table = pq.read_table(cache, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return None
    return table if table.schema.equals(_SCHEMA, check_metadata=True) else None
