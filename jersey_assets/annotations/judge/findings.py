"""Collects all findings (faults and warnings) in bounded memory.

Findings are kept as Arrow batches; file, line, split, image and label are joined from
the rows once, at the end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jersey_assets.annotations.disk.listing import AnnotationFile
from jersey_assets.annotations.lines.jsonl import Fault

RESOLVED = "resolved by prefer_number"
"""The message of a conflict that the policy has resolved begins with this."""

_BATCH = 20_000
_TEXT = pa.large_string()
SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "file": _TEXT,
        "split": _TEXT,
        "field": _TEXT,
        "value": _TEXT,
        "reason": _TEXT,
        "message": _TEXT,
    }
)


@dataclass
class Findings:
    """A growing table of findings.

    Attributes:
        counts: findings by reason code.
    """

    counts: Counter[str] = field(default_factory=Counter)
    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _pending: list[tuple[object, ...]] = field(default_factory=list)

    def add_row(self, row: int, fault: Fault) -> None:
        """Add a finding about a row, counted from 0 over the whole reading."""
        self._add(
            (row, None, None, fault.field, fault.value, fault.reason, fault.message)
        )

    def add_file(self, file: AnnotationFile, reason: str, message: str) -> None:
        """Add a finding about a whole file or folder."""
        self._add((-1, file.path, file.split, None, None, reason, message))

    def add_dataset(self, split: str, reason: str, message: str) -> None:
        """Add a finding about a whole split; its folder takes the file's place."""
        self._add((-1, split, split, None, None, reason, message))

    def table(self) -> pa.Table:
        """Return all findings so far, in the order in which they were added."""
        self._flush()
        return pa.Table.from_batches(self._batches, SCHEMA)

    def rows_with(self, reasons: frozenset[str] | set[str]) -> NDArray[np.int64]:
        """Return the rows that have a finding of one of these reasons."""
        table = self.table()
        wanted = pa.compute.is_in(
            table["reason"], value_set=pa.array(sorted(reasons), _TEXT)
        )
        rows = table["row"].filter(wanted).to_numpy()
        return np.unique(rows[rows >= 0])

    def _add(self, finding: tuple[object, ...]) -> None:
        self.counts[str(finding[5])] += 1
        self._pending.append(finding)
        if len(self._pending) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        columns = zip(*self._pending, strict=True)
        arrays = [
            pa.array(column, kind.type)
            for column, kind in zip(columns, SCHEMA, strict=True)
        ]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
        self._pending = []
