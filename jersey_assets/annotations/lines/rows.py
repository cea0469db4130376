"""Reads all rows of a dataset into columns, with the faults of bad lines and files.

Lines are decoded in blocks. A block with anything unusual in it is halved until the
unusual lines are isolated, and these are parsed strictly; the result does not depend on
which way a line was read. Memory holds one chunk of a file and the finished columns.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jersey_assets.annotations.disk.confined import real_root
from jersey_assets.annotations.disk.errors import PathError
from jersey_assets.annotations.disk.fingerprint import Content, fingerprint_of
from jersey_assets.annotations.disk.listing import (
    AnnotationFile,
    list_annotation_files,
    open_annotation_file,
)
from jersey_assets.annotations.disk.paths import image_path
from jersey_assets.annotations.judge.findings import Findings
from jersey_assets.annotations.lines.blocks import TEXT, Block, BlockDecoder
from jersey_assets.annotations.lines.jsonl import (
    BLANK,
    Fault,
    Line,
    parse_line,
    too_long,
)
from jersey_assets.annotations.lines.stream import (
    CHUNK_BYTES,
    ForeignFileError,
    Lines,
    read_lines,
)
from jersey_assets.annotations.progress import Progress
from jersey_assets.annotations.rules import Rules
from jersey_assets.text import count, shorten_path

_SMALLEST_BLOCK = 32

SCHEMA = pa.schema(
    {
        "file": pa.int32(),
        "line": pa.int64(),
        "image": TEXT,
        "label": TEXT,
        "prefix": TEXT,
        "metadata": TEXT,
    }
)


@dataclass
class Reading:
    """Everything that was read from a dataset's JSONL files.

    Attributes:
        files: the annotation files, in order; `table.file` counts into them.
        table: one row per line that is not blank: file int32, line int64 (from 1),
            image (relative to the root), label, prefix, metadata (JSON text); null if
            absent or faulty.
        findings: faults of rows and files.
        fingerprint: of the bytes that were read, as `fingerprint` computes it.
    """

    files: list[AnnotationFile]
    table: pa.Table
    findings: Findings
    fingerprint: str


def read_rows(root: Path, rules: Rules, progress: Progress) -> Reading:
    """Read every annotation file of a dataset.

    Raises:
        AnnotationError: the root is missing or not a folder.
    """
    files = list_annotation_files(root)
    reader = _Reader(real_root(root), rules, progress)
    read = fingerprint_of(
        (file, reader.read_file(number, file)) for number, file in enumerate(files)
    )
    table = pa.Table.from_batches(reader.batches, SCHEMA)
    return Reading(files, table, reader.findings, read.digest)


class _Reader:
    """Collects rows file by file.

    Attributes:
        batches: the columns so far.
        findings: the faults so far.
    """

    def __init__(self, root: str, rules: Rules, progress: Progress) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.findings = Findings()
        self._root = root
        self._rules = rules
        self._progress = progress
        self._decoder = BlockDecoder(rules)
        self._rows = 0
        self._file = 0
        self._folder = ""

    def read_file(self, number: int, file: AnnotationFile) -> Content | None:
        """Read one file's rows; returns its content, None if it cannot be read."""
        self._file = number
        self._folder = posixpath.dirname(file.path)
        content = Content()
        try:
            with open_annotation_file(self._root, file) as stream:
                self._read_content(file, content.read(stream, CHUNK_BYTES))
                for _ in content.read(stream, CHUNK_BYTES):
                    pass  # read on after a fault, for the fingerprint
        except (PathError, OSError) as error:
            self.findings.add_file(file, file.reason or "file.unreadable", str(error))
            return None
        return content

    def _read_content(self, file: AnnotationFile, chunks: Iterator[bytes]) -> None:
        try:
            longest, name = self._rules.max_line_bytes, posixpath.basename(file.path)
            for lines in read_lines(self._told(file, chunks), longest, name):
                self._add_lines(lines)
        except ForeignFileError as error:
            self.findings.add_file(file, "file.encoding", str(error))

    def _told(self, file: AnnotationFile, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Pass chunks on and report progress, even while no line ends."""
        for read, chunk in enumerate(chunks):
            self._progress.say(
                f"reading {shorten_path(file.path)}: {read * CHUNK_BYTES >> 20:,} MB, "
                f"{count(self._rows, 'row')} so far"
            )
            yield chunk

    def _add_lines(self, lines: Lines) -> None:
        """Add lines; blank ones are not rows but count as lines."""
        if lines.cut:
            fault = too_long(lines.cut, lines.lines[0], self._rules)
            self._add_strict([Line(faults=(fault,))], np.array([lines.start]))
            return
        texts = lines.lines
        numbers = np.arange(lines.start, lines.start + len(texts))
        if not all(map(bytes.strip, texts)):
            filled = [bool(text.strip(BLANK)) for text in texts]
            numbers = numbers[filled]
            texts = list(compress(texts, filled))
        self._add_texts(texts, numbers)

    def _add_texts(self, texts: list[bytes], numbers: NDArray[np.int64]) -> None:
        """Read a block the fast way, or by halves, or line by line."""
        if not texts:
            return
        if block := self._decoder.decode(texts, self._folder):
            self._append(block, numbers)
        elif len(texts) <= _SMALLEST_BLOCK:
            self._add_strict([parse_line(t, self._rules) for t in texts], numbers)
        else:
            half = len(texts) // 2
            self._add_texts(texts[:half], numbers[:half])
            self._add_texts(texts[half:], numbers[half:])

    def _add_strict(self, lines: Sequence[Line], numbers: NDArray[np.int64]) -> None:
        """Add lines that were parsed one by one, and all their faults."""
        images: list[str | None] = []
        for row, line in enumerate(lines, self._rows):
            image = None if line.image is None else image_path(self._folder, line.image)
            faults = [*line.faults, *([image] if isinstance(image, Fault) else [])]
            for fault in faults:
                self.findings.add_row(row, fault)
            images.append(image if isinstance(image, str) else None)
        block = Block(
            pa.array(images, TEXT),
            pa.array([line.label for line in lines], TEXT),
            pa.array([line.prefix for line in lines], TEXT),
            pa.array([line.metadata for line in lines], TEXT),
        )
        self._append(block, numbers)

    def _append(self, block: Block, numbers: NDArray[np.int64]) -> None:
        size = len(numbers)
        columns = [
            pa.array(np.full(size, self._file, np.int32)),
            pa.array(numbers),
            block.image,
            block.label,
            block.prefix,
            block.metadata,
        ]
        self.batches.append(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
        self._rows += size
