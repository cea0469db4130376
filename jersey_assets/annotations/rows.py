"""All rows of a dataset, read once: columns of what they say, faults of what they lack.

Lines are decoded in blocks by msgspec into typed rows and checked together; a block
with anything unusual in it is halved until the unusual lines stand alone, and those go
through the strict `jsonl.parse_line`. The fast way accepts only what the strict way
accepts with the same values, so which way a line went cannot be told from the result.
Memory holds one chunk of a file and the finished columns.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jersey_assets.annotations import files
from jersey_assets.annotations.findings import Findings
from jersey_assets.annotations.jsonl import BLANK, parse_line, too_long
from jersey_assets.annotations.paths import are_plain, image_path
from jersey_assets.annotations.progress import Progress
from jersey_assets.annotations.rules import Rules

_CHUNK_BYTES = 1 << 20
_SMALLEST_BLOCK = 32
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_FOREIGN = {
    b"\x1f\x8b": "gzip; unpack it",
    b"PK\x03\x04": "a ZIP archive; unpack it",
    b"BZh": "bzip2; unpack it",
    b"\xfd7zXZ": "xz; unpack it",
    b"\x28\xb5\x2f\xfd": "zstd; unpack it",
    b"\xff\xfe": "UTF-16 or UTF-32; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
    b"\x00\x00\xfe\xff": "UTF-32; save it as UTF-8",
}

TEXT = pa.large_string()
SCHEMA = pa.schema(
    {
        "file": pa.int32(),
        "line": pa.int64(),
        "image": TEXT,
        "label": TEXT,
        "prefix": pa.dictionary(pa.int32(), TEXT),
        "metadata": TEXT,
    }
)


class _Row(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    image: str
    suffix: str
    prefix: str | None = None
    metadata: msgspec.Raw = msgspec.Raw()


_decode_row = msgspec.json.Decoder(_Row).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass
class Reading:
    """Everything read from a dataset's JSONL files.

    Attributes:
        files: the annotation files, in order; `table.file` counts into them.
        table: one row per line that is not blank: file int32, line int64 (from 1),
            image (relative to the root), label, prefix, metadata (JSON text), null
            where absent or faulty.
        findings: faults of rows and files.
        fingerprint: of the bytes that were read, as `files.fingerprint` makes it.
    """

    files: list[files.AnnotationFile]
    table: pa.Table
    findings: Findings
    fingerprint: str


@dataclass
class _Columns:
    """The rows of one block of lines, column by column."""

    numbers: NDArray[np.int64]
    images: list[str | None]
    labels: list[str | None]
    prefixes: list[str | None]
    metadata: list[bytes | str | None]


@dataclass
class _Builder:
    """Collects blocks into columns; knows how many rows came before."""

    root: str
    rules: Rules
    progress: Progress
    findings: Findings = field(default_factory=Findings)
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    file: int = 0
    folder: str = ""

    def __post_init__(self) -> None:
        """Compile the label rule once."""
        self.pattern = re.compile(self.rules.label_pattern, re.ASCII)
        self.good_labels: set[str] = set()

    def add(self, columns: _Columns) -> None:
        """Append a block."""
        size = len(columns.numbers)
        arrays = [
            pa.array(np.full(size, self.file, np.int32)),
            pa.array(columns.numbers, pa.int64()),
            pa.array(columns.images, TEXT),
            pa.array(columns.labels, TEXT),
            pa.array(columns.prefixes, SCHEMA.field("prefix").type),
            pa.array(columns.metadata, TEXT),
        ]
        self.batches.append(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
        self.rows += size


def read_rows(root: Path, rules: Rules, progress: Progress) -> Reading:
    """Read every annotation file of a dataset.

    Raises:
        AnnotationError: the root is missing or not a folder.
    """
    found = files.list_annotation_files(root)
    builder = _Builder(files.real_root(root), rules, progress)
    contents = []
    for number, file in enumerate(found):
        builder.file = number
        builder.folder = posixpath.dirname(file.path)
        progress.say(f"reading {file.path}: {builder.rows:,} rows so far")
        contents.append((file.path, _read_file(builder, file)))
    table = pa.Table.from_batches(builder.batches, SCHEMA)
    digest = files.digest_of_contents(contents)
    return Reading(found, table, builder.findings, digest)


def _read_file(builder: _Builder, file: files.AnnotationFile) -> str:
    """Read one file's rows; returns its content's digest, or why it has none."""
    if file.reason:
        builder.findings.add_file(file, file.reason, file.message)
        return file.reason
    digest = hashlib.sha256()
    try:
        descriptor = files.open_annotation_file(builder.root, file)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            _read_stream(builder, file, _digested(stream, digest))
    except (files.PathError, OSError) as error:
        builder.findings.add_file(file, "file.unreadable", str(error))
        return "file.unreadable"
    return digest.hexdigest()


def _digested(stream: Any, digest: Any) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        yield chunk


def _read_stream(
    builder: _Builder, file: files.AnnotationFile, chunks: Iterator[bytes]
) -> None:
    """Turn a file's chunks into rows, or into one finding where it is no text."""
    first = next(chunks, b"")
    if what := _foreign(first):
        if what != "AppleDouble":
            builder.findings.add_file(
                file, "file.encoding", f"the file is {what}, not UTF-8 JSONL"
            )
        for _ in chunks:  # the digest is of the whole file
            pass
        return
    number = 1
    rest = b""
    skipped = 0  # bytes of an endless line that were thrown away
    limit = builder.rules.max_line_bytes
    for chunk in _chain(first, chunks):
        *lines, tail = chunk.split(b"\n")
        if lines:
            lines[0] = rest + lines[0]
            if skipped:
                _add_endless(builder, number, skipped + len(lines.pop(0)), rest)
                number += 1
                skipped = 0
            _add_lines(builder, lines, number)
            number += len(lines)
            rest = tail
        else:
            rest += tail
        if len(rest) > limit:
            skipped += len(rest) - limit
            rest = rest[:limit]
    if skipped:
        _add_endless(builder, number, skipped + len(rest), rest)
    elif rest:
        _add_lines(builder, [rest], number)


def _chain(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from chunks


def _foreign(start: bytes) -> str | None:
    """Name a file that is no UTF-8 text; `AppleDouble` is macOS's companion file."""
    if start.startswith(_APPLE_DOUBLE):
        return "AppleDouble"
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            return what
    if b"\x00" in start[:4]:
        return "UTF-16, UTF-32 or binary; save it as UTF-8"
    lines = map(bytes.strip, start.split(b"\n"))
    if any(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        return None
    return None if _is_text(start) else "binary"


def _is_text(start: bytes) -> bool:
    try:
        start[:4096].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(start[:4096]) - 4
    return True


def _add_endless(builder: _Builder, number: int, length: int, start: bytes) -> None:
    """Report a line that outgrew the limit while it was read."""
    fault = too_long(length, start, builder.rules)
    builder.findings.add_row(builder.rows, fault)
    builder.add(_Columns(np.array([number]), [None], [None], [None], [None]))


def _add_lines(builder: _Builder, lines: list[bytes], start: int) -> None:
    """Add consecutive lines, blank ones left out of the rows but not of the count."""
    numbers = np.arange(start, start + len(lines))
    if not all(map(bytes.strip, lines)):
        filled = [bool(line.strip(BLANK)) for line in lines]
        numbers = numbers[filled]
        lines = list(compress(lines, filled))
    _add_block(builder, lines, numbers)


def _add_block(
    builder: _Builder, lines: list[bytes], numbers: NDArray[np.int64]
) -> None:
    """Read a block the fast way, or by halves, or line by line."""
    if not lines:
        return
    if (columns := _fast(builder, lines, numbers)) is not None:
        builder.add(columns)
    elif len(lines) <= _SMALLEST_BLOCK:
        builder.add(_strict(builder, lines, numbers))
    else:
        half = len(lines) // 2
        _add_block(builder, lines[:half], numbers[:half])
        _add_block(builder, lines[half:], numbers[half:])


def _strict(
    builder: _Builder, lines: list[bytes], numbers: NDArray[np.int64]
) -> _Columns:
    """Read line by line, collecting every fault."""
    columns = _Columns(numbers, [], [], [], [])
    for offset, text in enumerate(lines):
        line = parse_line(text, builder.rules)
        faults = list(line.faults)
        image: str | None = None
        if line.image is not None:
            joined = image_path(builder.folder, line.image)
            if isinstance(joined, str):
                image = joined
            else:
                faults.append(joined)
        for fault in faults:
            builder.findings.add_row(builder.rows + offset, fault)
        columns.images.append(image)
        columns.labels.append(line.label)
        columns.prefixes.append(line.prefix)
        columns.metadata.append(line.metadata)
    return columns


def _fast(
    builder: _Builder, lines: list[bytes], numbers: NDArray[np.int64]
) -> _Columns | None:
    """Read a block whose every line is plainly right; None where one may not be."""
    text = b"\n".join(lines)
    if not _is_utf8(text) or b"\\u003" in text:  # an escaped colon would be miscounted
        return None
    try:
        rows = list(map(_decode_row, lines))
        images = [row.image for row in rows]
        labels = [row.suffix for row in rows]
        prefixes = [row.prefix for row in rows]
        metadata = [bytes(row.metadata) for row in rows]
        colons = _metadata_colons(metadata, builder.rules.max_depth)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    given = [prefix for prefix in prefixes if prefix is not None]
    # Every key brings a colon, so a repeated key, which msgspec overwrites in silence,
    # leaves more colons in the text than the decoded rows account for.
    colons += 2 * len(rows) + len(given) + "".join(given).count(":")
    longest = max(map(len, lines))
    if (
        text.count(b":") != colons
        or longest > builder.rules.max_line_bytes
        or not are_plain(images)
        or not _are_labels(builder, set(labels))
    ):
        return None
    folder = builder.folder + "/"
    return _Columns(
        numbers,
        [folder + image for image in images],
        list(labels),
        prefixes,
        [value or None for value in metadata],
    )


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _are_labels(builder: _Builder, labels: set[str]) -> bool:
    for label in labels - builder.good_labels:
        if not builder.pattern.fullmatch(label):
            return False
        builder.good_labels.add(label)
    return True


def _metadata_colons(metadata: list[bytes], max_depth: int) -> int:
    """Count the colons that metadata brings to its lines, its own keys included.

    Raises:
        msgspec.MsgspecError: one is no object, repeats a key or nests too deeply.
    """
    given = [text for text in metadata if text]
    if not given:
        return 0
    values = list(map(_decode_object, given))
    text = b"".join(given)
    colons = text.count(b":")
    nested = text.count(b"{") != len(given) or b"[" in text
    deepest = max(t.count(b"{") + t.count(b"[") for t in given) if nested else 1
    keys = sum(map(len, values))
    if deepest >= max_depth or (colons != keys and colons != sum(map(_colons, values))):
        raise msgspec.MsgspecError
    return colons + len(given)


def _colons(value: Any) -> int:
    """Count the colons in a value's JSON text: one per key and those in strings."""
    if isinstance(value, str):
        return value.count(":")
    if isinstance(value, list):
        return sum(map(_colons, value))
    if isinstance(value, dict):
        return sum(1 + key.count(":") + _colons(inner) for key, inner in value.items())
    return 0
