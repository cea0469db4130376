"""The fast reader: decodes blocks of thousands of valid lines at once.

msgspec decodes each line into a typed row; what it does not check itself (repeated
keys, the depth of nesting, UTF-8 in metadata, paths, labels) is checked for the whole
block with a few searches over its text. A block passes only if `jsonl.parse_line` and
`paths.image_path` would accept every line with the same values; all other blocks are
left to them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jersey_assets.annotations.disk.paths import are_plain
from jersey_assets.annotations.rules import Rules

TEXT = pa.large_string()


_ABSENT = msgspec.Raw()


class _Row(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    image: str
    suffix: str
    prefix: str | None = None
    metadata: msgspec.Raw = _ABSENT


_rows = msgspec.json.Decoder(_Row)
_objects = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True)
class Block:
    """Rows of consecutive lines, column by column.

    Attributes:
        image: relative to the root.
        label: as written.
        prefix: null if absent.
        metadata: JSON text, null if absent.
    """

    image: pa.Array
    label: pa.Array
    prefix: pa.Array
    metadata: pa.Array


class BlockDecoder:
    """Decodes blocks under one set of rules."""

    def __init__(self, rules: Rules) -> None:
        """Compile the label pattern once; labels that matched it are remembered."""
        self._rules = rules
        self._pattern = re.compile(rules.label_pattern, re.ASCII)
        self._labels: set[str] = set()

    def decode(self, lines: Sequence[bytes], folder: str) -> Block | None:
        """Decode lines, or return None if one of them may be invalid.

        Args:
            lines: none of them blank.
            folder: folder of the JSONL file, relative to the root.
        """
        text = b"\n".join(lines)
        # An escaped colon would be decoded, and counted, without being in the text.
        if not _is_utf8(text) or (b"\\" in text and rb"\u003" in text):
            return None
        longest = self._rules.max_line_bytes
        if len(text) > longest and max(map(len, lines)) > longest:
            return None
        try:
            if _is_one_object_per_line(text):
                rows = _rows.decode_lines(text)
            else:
                rows = list(map(_rows.decode, lines))
            metadata = [row.metadata for row in rows]
            colons = _metadata_colons(metadata, self._rules.max_depth)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        # Every key has a colon, so a repeated key, which msgspec silently overwrites,
        # leaves more colons in the text than the rows account for.
        prefixes = [row.prefix for row in rows]
        given = [prefix for prefix in prefixes if prefix is not None]
        colons += 2 * len(lines) + len(given) + "".join(given).count(":")
        labels = [row.suffix for row in rows]
        if _count(text, ":") != colons or not self._are_labels(set(labels)):
            return None
        images = [row.image for row in rows]
        if not are_plain(images):
            return None
        return Block(
            pc.binary_join_element_wise(
                pa.scalar(folder, TEXT), pa.array(images, TEXT), pa.scalar("/", TEXT)
            ),
            pa.array(labels, TEXT),
            pa.array(prefixes, TEXT),
            _text_or_null(list(map(bytes, metadata))),
        )

    def _are_labels(self, labels: set[str]) -> bool:
        for label in labels - self._labels:
            if ":" in label or not self._pattern.fullmatch(label):
                return False
            self._labels.add(label)
        return True


def _is_one_object_per_line(text: bytes) -> bool:
    """Say whether rows may be decoded from the whole text at once.

    JSON allows `}`, a line feed and `{` in a row neither in an object, an array nor a
    string, so each such place ends a value: there are as many values as lines.
    """
    values = np.frombuffer(b"}\n" + text + b"\n{", np.uint8)
    ends = np.flatnonzero(values == ord("\n"))
    fenced = (values[ends - 1] == ord("}")) & (values[ends + 1] == ord("{"))
    return bool(fenced.all())


def _count(text: bytes, character: str) -> int:
    """Count a byte; for a frequent one, several times as fast as `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord(character)))


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _metadata_colons(metadata: Sequence[msgspec.Raw], max_depth: int) -> int:
    """Count the colons that metadata adds to its lines, its own keys included.

    Raises:
        msgspec.MsgspecError: one is not an object, repeats a key or may be nested too
            deeply.
    """
    given = [raw for raw in metadata if raw is not _ABSENT]
    if not given:
        return 0
    text = b"\n".join(given)
    values = _objects.decode_lines(text)
    if b"[" in text or _count(text, "{") != len(given):
        deepest = max(map(_brackets, map(bytes, given)))
        keys = sum(map(_colons, values))
    else:
        deepest = 1
        keys = sum(map(len, values))
    colons = _count(text, ":")
    if colons != keys and colons != sum(map(_colons, values)):
        raise msgspec.MsgspecError("an object may repeat a key")
    if deepest >= max_depth:
        raise msgspec.MsgspecError("an object may be nested too deeply")
    return colons + len(given)


def _brackets(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[")


def _colons(value: Any) -> int:
    """Count the colons in a value's JSON text: one per key and those in strings."""
    if isinstance(value, str):
        return value.count(":")
    if isinstance(value, list):
        return sum(map(_colons, value))
    if isinstance(value, dict):
        return sum(1 + key.count(":") + _colons(inner) for key, inner in value.items())
    return 0


def _text_or_null(values: list[bytes]) -> pa.Array:
    """Make a column of UTF-8 texts; empty ones become null."""
    if not all(values):
        return pa.array([value or None for value in values], TEXT)
    offsets = np.zeros(len(values) + 1, np.int64)
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    np.cumsum(lengths, out=offsets[1:])
    return pa.LargeStringArray.from_buffers(
        len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(values))
    )
