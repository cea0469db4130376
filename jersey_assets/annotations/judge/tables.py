"""Turns the ledger into tables: the validated rows, and all findings.

Columns are built in Arrow and passed to pandas without a copy; no row is ever an object
of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jersey_assets.annotations.disk.listing import SPLITS
from jersey_assets.annotations.judge.ledger import Ledger
from jersey_assets.annotations.lines.blocks import TEXT
from jersey_assets.annotations.reasons import severity
from jersey_assets.annotations.schema import FINDING_COLUMNS


def validated_table(ledger: Ledger) -> pd.DataFrame:
    """Return the kept rows, with the measurements of their images."""
    kept = np.flatnonzero(ledger.kept)
    return _frame(row_columns(ledger, kept) | _image_columns(ledger, kept))


def row_columns(ledger: Ledger, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Return what the annotations say: split, image, label, file, line, …."""
    table = ledger.reading.table
    if len(rows) < len(table):
        table = table.take(rows)
    file_names = [file.path for file in ledger.reading.files]
    return {
        "split": _named(ledger.split[rows], SPLITS),
        "image": _named(ledger.crop[rows], ledger.paths),
        "label": _named(ledger.label[rows], ledger.labels),
        "file": _named(table["file"].to_numpy(), file_names),
        "line": table["line"],
        "prefix": table["prefix"],
        "metadata": table["metadata"],
    }


def _image_columns(ledger: Ledger, rows: NDArray[np.int64]) -> dict[str, Any]:
    probed = ledger.probed[ledger.crop[rows]]
    return {
        "width": pa.array(probed["width"].astype(np.int64)),
        "height": pa.array(probed["height"].astype(np.int64)),
        "image_sha256": _hex(probed["sha256"]),
        "pixel_hash": _hex(probed["pixels"]),
        "dhash": _hex(probed["dhash"].astype(">u8")),
    }


def findings_table(ledger: Ledger) -> pd.DataFrame:
    """Join each finding with the row that it is about."""
    found = ledger.reading.findings.table()
    rows = found["row"].to_numpy()
    about = pa.array(rows, mask=rows < 0)
    table = ledger.reading.table.select(["file", "line"]).take(about)
    names = [file.path for file in ledger.reading.files]
    frame = _frame(
        {
            "file": pc.coalesce(
                found["file"], pa.array(names, TEXT).take(table["file"])
            ),
            "line": pc.fill_null(table["line"], 0),
            "split": pc.coalesce(
                found["split"],
                _named(np.append(ledger.split, np.int8(-1))[rows], SPLITS),
            ),
            "image": _named(np.append(ledger.image, -1)[rows], ledger.images),
            "label": _named(np.append(ledger.label, -1)[rows], ledger.labels),
            "field": found["field"],
            "value": found["value"],
            "reason": found["reason"],
            "severity": pa.array(
                [severity(reason) for reason in found["reason"].to_pylist()], TEXT
            ),
            "message": found["message"],
        }
    )
    order = frame["split"].map(SPLITS.index).astype("int64")
    frame = frame.assign(order=order).sort_values(
        ["order", "file", "line"], kind="stable", ignore_index=True
    )
    return frame[list(FINDING_COLUMNS)]


def _frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    frame: pd.DataFrame = pa.table(columns).to_pandas()
    return frame


def _named(codes: NDArray[Any], names: pa.Array | Sequence[str]) -> pa.Array:
    """Replace positions in a list of names by the names; -1 becomes null."""
    return pa.array(names, TEXT).take(pa.array(codes, mask=codes < 0))


def _hex(values: NDArray[Any]) -> pa.Array:
    """Write fixed-size bytes as a column of hex text, all at once."""
    text = values.tobytes().hex().encode()
    width = 2 * values.dtype.itemsize
    offsets = np.arange(len(values) + 1, dtype=np.int64) * width
    return pa.LargeStringArray.from_buffers(
        len(values), pa.py_buffer(offsets), pa.py_buffer(text)
    )
