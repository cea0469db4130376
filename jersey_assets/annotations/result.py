"""The result of a validation: three tables and a summary, as Parquet and JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jersey_assets.text import shorten_path


def place(file: str, line: int) -> str:
    """Name a row as file:line, and a whole file or split (line 0) by its name."""
    return f"{shorten_path(file)}:{line}" if line else shorten_path(file)


@dataclass(frozen=True)
class Validation:
    """A validated dataset.

    Attributes:
        validated: one row per kept annotation: split, image (posix path relative to
            the root, links resolved), label, file (JSONL, relative), line (from 1),
            prefix, metadata (JSON text; null if absent), width, height (pixels,
            after the EXIF orientation), image_sha256 (of the file), pixel_hash (sha256
            of size and RGB pixels), dhash (16 hex digits).
        rejected: one row per fault: file, line (0 for a whole file or split), split,
            image, label, field, value, reason, severity, message. A row with two
            faults is listed twice.
        warnings: the same columns, for rows that were kept or merged.
        summary: rows, kept, rejected (rows, not faults), duplicates, resolved,
            outcome, reasons, splits, files, by_file, fingerprint, conflict_policy and
            rejected_budget; JSON values only.
    """

    validated: pd.DataFrame
    rejected: pd.DataFrame
    warnings: pd.DataFrame
    summary: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over the content of all tables and the summary."""
        digest = hashlib.sha256(json.dumps(self.summary, sort_keys=True).encode())
        for table in (self.validated, self.rejected, self.warnings):
            for name in table.columns:
                digest.update(f"\n{name}:{len(table)}\n".encode())
                _digest_column(digest, table[name])
        return digest.hexdigest()

    def write_validated(self, folder: Path) -> None:
        """Write annotations.parquet, warnings.parquet and summary.json."""
        self.validated.to_parquet(folder / "annotations.parquet", index=False)
        self.warnings.to_parquet(folder / "warnings.parquet", index=False)
        text = json.dumps(self.summary, indent=2, ensure_ascii=False)
        (folder / "summary.json").write_text(text + "\n", encoding="utf-8")

    def write_rejected(self, folder: Path) -> None:
        """Write rejected.parquet."""
        self.rejected.to_parquet(folder / "rejected.parquet", index=False)


def read_validation(validated_folder: Path, rejected_folder: Path) -> Validation:
    """Read back what the two write methods wrote.

    Raises:
        OSError: a file is missing.
    """
    summary = (validated_folder / "summary.json").read_text(encoding="utf-8")
    return Validation(
        pd.read_parquet(validated_folder / "annotations.parquet"),
        pd.read_parquet(rejected_folder / "rejected.parquet"),
        pd.read_parquet(validated_folder / "warnings.parquet"),
        json.loads(summary),
    )


def _digest_column(digest: Any, column: pd.Series[Any]) -> None:
    """Digest a column by its values alone, however Arrow chunks or pads them."""
    if pd.api.types.is_integer_dtype(column.dtype):
        digest.update(column.to_numpy("<i8").tobytes())
        return
    values = pa.array(column, pa.large_string(), from_pandas=True)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    lengths = pc.fill_null(pc.binary_length(values), -1)
    digest.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
    values = pc.fill_null(values, "")
    _, offsets, text = values.buffers()
    if text is not None:
        first, last = np.frombuffer(offsets, np.int64)[
            [values.offset, values.offset + len(values)]
        ]
        digest.update(memoryview(text)[first:last])
