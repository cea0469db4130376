"""The line format: parses one JSONL line strictly and reports all of its faults.

Accepts RFC 8259 and UTF-8, nothing more: what Python's parser lets through (NaN,
repeated keys, lone surrogates, deep nesting) is refused with a code of its own. This is
the reference that the fast reader in `blocks` must agree with, and it reads each line
that the fast reader refuses.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from jersey_assets.annotations.rules import Rules
from jersey_assets.text import SHOWN_CHARACTERS, shorten

BLANK = b" \t\r"
"""A line of only these is blank and not a row; JSON has no other white space."""

_BOM = b"\xef\xbb\xbf"
_MERGE_MARKERS = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    type(None): "null",
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a row.

    Attributes:
        reason: reason code.
        message: what is wrong and what to do.
        field: the key it is about, if any.
        value: the offending value, cut to a readable length.
    """

    reason: str
    message: str
    field: str | None = None
    value: str | None = None


@dataclass(frozen=True)
class Line:
    """A row's fields as they are in the file; None if missing or faulty.

    Attributes:
        image: the path as written, not yet judged.
        label: the suffix, which matches the label pattern.
        prefix: the prompt, if given.
        metadata: the object's JSON text, as written.
        faults: everything that is wrong with the line.
    """

    image: str | None = None
    label: str | None = None
    prefix: str | None = None
    metadata: str | None = None
    faults: tuple[Fault, ...] = ()


class _RefusedError(ValueError):
    """A fault found inside the parser."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def parse_line(line: bytes, rules: Rules) -> Line:
    """Read one line that is not blank.

    Args:
        line: its bytes without the line feed.
        rules: the label pattern and the limits.
    """
    try:
        text = _decode(line, rules)
        row = _parse(text, line, rules)
    except _RefusedError as error:
        return Line(faults=(error.fault,))
    if not isinstance(row, dict):
        kind = _kind(row)
        return Line(
            faults=(
                Fault(
                    "row.not_object",
                    f'the line is {kind}; write {{"image": …, "suffix": …}}',
                    value=shorten(text),
                ),
            )
        )
    return _check_fields(row, line, re.compile(rules.label_pattern, re.ASCII))


def label_fault(label: str, pattern: re.Pattern[str]) -> Fault | None:
    """Say why a string is not a label, or None if it is one."""
    if pattern.fullmatch(label):
        return None
    shown = shorten(json.dumps(label, ensure_ascii=False))
    if any(character.isspace() for character in label):
        reason, what = "label.whitespace", "has white space in it; remove it"
    elif re.fullmatch("[0-9]+", label):
        reason, what = "label.too_long", "has too many digits; correct the number"
    else:
        reason, what = (
            "label.charset",
            'is not a label; write ASCII digits, or "" for no readable number',
        )
    expected = f"(labels match {pattern.pattern})"
    return Fault(reason, f'"suffix" {shown} {what} {expected}', "suffix", shown)


def _decode(line: bytes, rules: Rules) -> str:
    if len(line) > rules.max_line_bytes:
        raise _RefusedError(too_long(len(line), line, rules))
    if line.startswith(_BOM):
        raise _RefusedError(
            Fault(
                "json.encoding",
                "the line starts with a byte order mark; save the file as UTF-8 "
                "without BOM",
                value=_shorten_bytes(line),
            )
        )
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _RefusedError(
            Fault(
                "json.encoding",
                f"byte {error.start + 1} of the line is not UTF-8 "
                f"(0x{line[error.start]:02x}); save the file as UTF-8",
                value=_shorten_bytes(line[max(0, error.start - 30) :]),
            )
        ) from error


def too_long(length: int, start: bytes, rules: Rules) -> Fault:
    """Report a line that is too long to be parsed."""
    return Fault(
        "json.line_too_long",
        f"the line has {length:,} bytes, more than {rules.max_line_bytes:,}; "
        "is a line feed missing?",
        value=_shorten_bytes(start),
    )


def _parse(text: str, line: bytes, rules: Rules) -> Any:
    """Parse strictly; each kind of failure becomes one fault."""
    if nesting(text) > rules.max_depth:
        raise _RefusedError(
            Fault(
                "json.depth",
                f"nested deeper than {rules.max_depth} levels; flatten the metadata",
                value=shorten(text),
            )
        )
    try:
        row = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
            object_pairs_hook=_unique_keys,
        )
    except json.JSONDecodeError as error:
        raise _RefusedError(_syntax_fault(error, text, line)) from error
    if _SURROGATE.search(text):
        _refuse_lone_surrogates(row, text)
    return row


def nesting(text: str) -> int:
    """Count how deep brackets are nested outside strings, even in broken JSON."""
    if text.count("[") + text.count("{") <= 2:
        return 2
    depth = deepest = 0
    for character in re.sub(r"[^\[\]{}]", "", _STRING.sub("", text)):
        depth += 1 if character in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _syntax_fault(error: json.JSONDecodeError, text: str, line: bytes) -> Fault:
    if line.startswith(_MERGE_MARKERS):
        what = "a merge conflict was left in the file; resolve it"
    elif error.msg.startswith("Extra data"):
        what = (
            f"there is more after the JSON value, at character {error.pos + 1}; "
            "write one object per line"
        )
    elif error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
        what = "the line is cut off; write the rest of the object"
    else:
        what = (
            f"invalid JSON at character {error.pos + 1} ({error.msg}); correct the line"
        )
    return Fault("json.syntax", what, value=shorten(text[max(0, error.pos - 40) :]))


def _refuse_constant(name: str) -> Any:
    raise _RefusedError(
        Fault("json.nonfinite", f"{name} is not JSON; leave the key out", value=name)
    )


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _RefusedError(
            Fault(
                "json.nonfinite",
                f"{shorten(text)} is too large for a float; write a smaller number",
                value=shorten(text),
            )
        )
    return number


def _integer(text: str) -> int | float:
    """Keep integers exact; only huge ones (past Python's own limit) lose digits."""
    return int(text) if len(text) <= 4000 else math.nan


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) == len(pairs):
        return row
    seen: set[str] = set()
    twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    shown = shorten(json.dumps(twice, ensure_ascii=False))
    raise _RefusedError(
        Fault(
            "json.duplicate_key",
            f"the key {shown} occurs twice in one object; keep one",
            shorten(twice),
            shorten(json.dumps([v for k, v in pairs if k == twice], default=str)),
        )
    )


def _refuse_lone_surrogates(row: Any, text: str) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise _RefusedError(
            Fault(
                "json.encoding",
                r"a \u escape is half a character (a lone surrogate); write the "
                "character itself",
                value=shorten(text),
            )
        ) from error


def _check_fields(row: dict[str, Any], line: bytes, pattern: re.Pattern[str]) -> Line:
    """Check presence and types first, then the label's rule."""
    faults = [
        Fault(
            "row.missing_field",
            f'"{field}" is missing; add it',
            field,
        )
        for field in ("image", "suffix")
        if field not in row
    ]
    wanted = {"image": str, "suffix": str, "prefix": str, "metadata": dict}
    right: dict[str, Any] = {}
    for field, kind in wanted.items():
        value = row.get(field)
        optional = field in ("prefix", "metadata")
        if isinstance(value, kind):
            right[field] = value
        elif field in row and not (optional and value is None):
            faults.append(_wrong_type(field, value, line))
    label = right.get("suffix")
    if label is not None and (fault := label_fault(label, pattern)):
        faults.append(fault)
        label = None
    return Line(
        right.get("image"),
        label,
        right.get("prefix"),
        _raw(line, "metadata") if "metadata" in right else None,
        tuple(faults),
    )


def _wrong_type(field: str, value: Any, line: bytes) -> Fault:
    shown = shorten(_raw(line, field))
    if field == "metadata":
        advice = "write an object, or leave the key out"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        advice = f'write it as a string: "{shown}"'
    elif field == "suffix" and value is None:
        advice = 'write "" if no number can be read'
    else:
        advice = "write a string"
    return Fault(
        "row.wrong_type",
        f'"{field}" is {shown} ({_kind(value)}); {advice}',
        field,
        shown,
    )


def _raw(line: bytes, field: str) -> str:
    """Cut a field's own text out of a line that is known to be valid JSON."""
    return bytes(_RAW_FIELDS.decode(line)[field]).decode().strip()


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a number")


def _shorten_bytes(data: bytes) -> str:
    return shorten(data[: 4 * SHOWN_CHARACTERS].decode("utf-8", "backslashreplace"))
