"""The ledger: records for every row read whether it is kept, set aside or merged.

Each row is exactly one of these three; the judgements only ever move rows from kept to
one of the other two, and `close` proves that none was lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jersey_assets.annotations.disk.listing import SPLITS
from jersey_assets.annotations.images.measure import PROBED
from jersey_assets.annotations.lines.jsonl import Fault
from jersey_assets.annotations.lines.rows import Reading
from jersey_assets.annotations.reasons import severity
from jersey_assets.annotations.result import place
from jersey_assets.text import shorten, shorten_path


@dataclass
class Ledger:
    """Every row, by position in the reading.

    Attributes:
        reading: what was read.
        split: int8 [rows], position in `SPLITS`.
        label: int32 [rows], position in `labels`; -1 if faulty.
        labels: the distinct labels.
        image: int32 [rows], position in `images`; -1 if faulty.
        images: the distinct image paths as rows name them, relative to the root.
        crop: int32 [rows], position in `paths`; -1 if there is no such file.
        paths: the real image files behind them; the same as `images` until looked up.
        probed: array of `PROBED` for each image file; empty before the probe.
        picture: int64 [files], a number that files of the same pixels share; each
            file has its own before the probe, and if it shows nothing.
        aside: bool [rows], set aside.
        merged: bool [rows], equal to an earlier row.
        resolved: rows set aside because the conflict policy prefers another.
    """

    reading: Reading
    split: NDArray[np.int8]
    label: NDArray[np.int32]
    labels: list[str]
    image: NDArray[np.int32]
    images: pa.Array
    crop: NDArray[np.int32]
    paths: pa.Array
    probed: NDArray[np.void]
    picture: NDArray[np.int64]
    aside: NDArray[np.bool_]
    merged: NDArray[np.bool_]
    resolved: int = 0

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Say which rows are kept."""
        return ~(self.aside | self.merged)

    def set_aside(self, row: int, fault: Fault) -> None:
        """Record a fault of a row."""
        self.reading.findings.add_row(row, fault)
        self.aside[row] = True

    def warn(self, row: int, fault: Fault) -> None:
        """Record a warning about a row that stays."""
        self.reading.findings.add_row(row, fault)

    def place(self, row: int) -> str:
        """Name a row as file:line."""
        file = self.reading.files[self.reading.table["file"][row].as_py()]
        return place(file.path, self.reading.table["line"][row].as_py())

    def label_of(self, row: int) -> str:
        """Return a row's label in quotes."""
        return f'"{shorten(self.labels[int(self.label[row])])}"'

    def path_of(self, row: int) -> str:
        """Return the real path of a row's image, shortened if it is long."""
        return shorten_path(str(self.paths[int(self.crop[row])]))

    def close(self) -> None:
        """Prove that every row read is in exactly one place, and why.

        Raises:
            RuntimeError: a row was lost or counted twice, which is a bug.
        """
        rows = len(self.aside)
        together = sum(map(np.count_nonzero, (self.kept, self.aside, self.merged)))
        errors = {r for r in self.reading.findings.counts if severity(r) == "error"}
        blamed = self.reading.findings.rows_with(errors)
        if together != rows or not np.array_equal(blamed, np.flatnonzero(self.aside)):
            raise RuntimeError(
                f"{rows} rows were read, but {together} are accounted for; this is a "
                "bug, please report it"
            )


def open_ledger(reading: Reading) -> Ledger:
    """Enter every row; those that already have a fault are set aside."""
    table = reading.table
    label, labels = _encode(table["label"])
    image, images = _encode(table["image"])
    reading.table = table.drop_columns(["label", "image"])
    split_of_file = np.array(
        [SPLITS.index(file.split) for file in reading.files], np.int8
    )
    aside = np.zeros(len(table), bool)
    aside[reading.findings.rows_with(set(reading.findings.counts))] = True
    return Ledger(
        reading,
        split_of_file[table["file"].to_numpy()],
        label,
        labels.to_pylist(),
        image,
        images,
        image,
        images,
        np.zeros(0, PROBED),
        np.arange(len(images)),
        aside,
        np.zeros(len(table), bool),
    )


def _encode(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], pa.Array]:
    """Number the distinct values of a column; null becomes -1."""
    values = column.combine_chunks()
    if not values.null_count and len(values.unique()) == len(values):
        return np.arange(len(values), dtype=np.int32), values
    encoded = values.dictionary_encode()
    codes: NDArray[np.int32] = np.array(pc.fill_null(encoded.indices, -1), np.int32)
    return codes, encoded.dictionary
