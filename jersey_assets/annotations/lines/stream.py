"""Splits an annotation file into numbered lines; refuses files that are not UTF-8.

Lines end with a line feed and nothing else; a line longer than the limit is measured
but not kept, so that fifty megabytes without a line feed cost one chunk of memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CHUNK_BYTES = 1 << 18

_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_FOREIGN = {
    _APPLE_DOUBLE: "a companion file of macOS; delete it",
    b"\x1f\x8b": "gzip; unpack it",
    b"PK\x03\x04": "a ZIP archive; unpack it",
    b"BZh": "bzip2; unpack it",
    b"\xfd7zXZ": "xz; unpack it",
    b"\x28\xb5\x2f\xfd": "zstd; unpack it",
    b"\xff\xfe": "UTF-16 or UTF-32; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
    b"\x00\x00\xfe\xff": "UTF-32; save it as UTF-8",
}


@dataclass(frozen=True)
class Lines:
    """Consecutive lines of a file.

    Attributes:
        start: number of the first, from 1.
        lines: their bytes without line feeds.
        cut: length in bytes of the whole line if it is longer than the limit; then
            `lines` holds only its beginning.
    """

    start: int
    lines: list[bytes]
    cut: int = 0


class ForeignFileError(Exception):
    """The file is not UTF-8 text; the message says what it is."""


def read_lines(chunks: Iterator[bytes], limit: int, name: str = "") -> Iterator[Lines]:
    """Split a file's chunks into lines.

    Args:
        chunks: the content.
        limit: the longest line that is kept whole, in bytes.
        name: of the file; macOS writes companions named `._*` beside files on
            foreign disks, which hold no rows.

    Raises:
        ForeignFileError: the file is not UTF-8 text at all.
    """
    number = 1
    rest = b""
    dropped = 0
    for count, chunk in enumerate(chunks):
        if count == 0 and name.startswith("._") and chunk.startswith(_APPLE_DOUBLE):
            return
        if count == 0:
            _refuse_foreign(chunk)
        *lines, tail = chunk.split(b"\n")
        if lines and dropped:
            yield Lines(number, [rest], len(rest) + dropped + len(lines.pop(0)))
            number, rest, dropped = number + 1, b"", 0
        if lines:
            lines[0] = rest + lines[0]
            yield Lines(number, lines)
            number, rest = number + len(lines), b""
        rest += tail
        if len(rest) > limit:
            dropped += len(rest) - limit
            rest = rest[:limit]
    if rest:
        yield Lines(number, [rest], len(rest) + dropped if dropped else 0)


def _refuse_foreign(start: bytes) -> None:
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise ForeignFileError(f"the file is {what}")
    if b"\x00" in start[:4]:
        raise ForeignFileError("the file is UTF-16 or binary; save it as UTF-8")
    if not _is_text(start[:4096]) and not _holds_objects(start):
        raise ForeignFileError("the file is binary, not UTF-8 JSONL")


def _is_text(start: bytes) -> bool:
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4  # a character cut at the chunk's end
    return True


def _holds_objects(start: bytes) -> bool:
    lines = map(bytes.strip, start.split(b"\n"))
    return any(line.startswith(b"{") and line.endswith(b"}") for line in lines)
