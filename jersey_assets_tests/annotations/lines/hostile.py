"""Lines that are no annotation, by the reason that they are set aside for."""

from __future__ import annotations

from jersey_assets_tests.annotations.datasets import (
    GOOD,
)


def with_prefix(text: bytes) -> bytes:
    return b'{"image": "a", "suffix": "7", "prefix": %b}' % text


def with_metadata(text: bytes) -> bytes:
    return b'{"image": "a", "suffix": "7", "metadata": %b}' % text


OPEN = GOOD[:-1]
JSON_LINES: dict[str, dict[str, bytes]] = {
    "json.syntax": {
        "cut off": b'{"image": "crops/x.png", "suff',
        "cut off after a comma": b'{"image": "crops/x.png",',
        "cut off in an escape": rb'{"image": "a", "suffix": "\u00',
        "one brace": b"{",
        "closing brace": b"}",
        "bare word": b"hello",
        "CSV": b"crops/x.png,7",
        "single quotes": b"{'image': 'x.png', 'suffix': '7'}",
        "Python dict": b'{"image": "x.png", "suffix": None}',
        "Python bool": with_metadata(b'{"a": True}'),
        "trailing comma": OPEN + b",}",
        "trailing comma in list": with_metadata(b'{"a": [1,]}'),
        "comment": GOOD + b" // seven",
        "two objects": GOOD + b'{"image": "a", "suffix": "7"}',
        "two objects, a space": GOOD + b' {"image": "a", "suffix": "7"}',
        "object and bracket": GOOD + b"]",
        "raw tab in string": with_prefix(b'"a\tb"'),
        "raw NUL in string": b'{"image": "crops/0.png", "suffix": "7\x00"}',
        "raw NUL after": GOOD + b"\x00",
        "raw escape character": with_prefix(b'"\x1b[1m"'),
        "bad escape": rb'{"image": "crops\0.png", "suffix": "7"}',
        "bad unicode escape": with_prefix(rb'"\u00g7"'),
        "leading zero number": b'{"image": "crops/0.png", "suffix": 07}',
        "plus number": b'{"image": "crops/0.png", "suffix": +7}',
        "hex number": b'{"image": "crops/0.png", "suffix": 0x7}',
        "number ending in a dot": b'{"image": "a", "suffix": 7.}',
        "unquoted key": b'{image: "crops/0.png", "suffix": "7"}',
        "no colon": b'{"image" "crops/0.png", "suffix": "7"}',
        "no comma": b'{"image": "crops/0.png" "suffix": "7"}',
        "no-break space": b"\xc2\xa0" + GOOD,
        "vertical tab": b"\x0b" + GOOD,
        "form feed alone": b"\x0c",
        "merge marker ours": b"<<<<<<< HEAD",
        "merge marker middle": b"=======",
        "merge marker theirs": b">>>>>>> branch",
        "carriage returns for lines": GOOD + b"\r" + GOOD,
        "unclosed string of 100 kB": b'{"image": "' + b"a" * 100_000,
    },
    "json.nonfinite": {
        "NaN": with_metadata(b'{"a": NaN}'),
        "Infinity": with_metadata(b'{"a": Infinity}'),
        "-Infinity": with_metadata(b'{"a": [-Infinity]}'),
        "NaN for the label": b'{"image": "crops/0.png", "suffix": NaN}',
        "1e999": with_metadata(b'{"a": 1e999}'),
        "-1e999": with_metadata(b'{"a": -1e999}'),
    },
    "json.duplicate_key": {
        "suffix twice": OPEN + b', "suffix": "23"}',
        "suffix twice the same": OPEN + b', "suffix": "7"}',
        "image twice": OPEN + b', "image": "a"}',
        "escaped key twice": OPEN + rb', "suffi\u0078": "23"}',
        "unknown key twice": OPEN + b', "id": 1, "id": 2}',
        "metadata twice": OPEN + b', "metadata": {}, "metadata": {}}',
        "key twice in metadata": with_metadata(b'{"c": "red", "c": "blue"}'),
        "key twice far inside": with_metadata(b'{"a": [{"c": 1, "c": 1}]}'),
        "beside an escaped colon": OPEN + rb', "prefix": "\u003a", "prefix": ""}',
        "space before the colon": with_metadata(b'{"c": 1, "c" :1}'),
    },
    "json.encoding": {
        "Latin-1": with_prefix(b'"caf\xe9"'),
        "Latin-1 in metadata": with_metadata(b'{"a": "caf\xe9"}'),
        "overlong NUL": with_prefix(b'"\xc0\x80"'),
        "UTF-8 surrogate": with_prefix(b'"\xed\xa0\x80"'),
        "lone surrogate escape": with_prefix(rb'"\ud800"'),
        "lone low surrogate": with_prefix(rb'"\udc00x"'),
        "surrogate in a metadata key": with_metadata(rb'{"\ud800": 1}'),
        "surrogate in the label": rb'{"image": "a", "suffix": "\ud83d"}',
        "cut UTF-8": b'{"image": "a", "suffix": "7\xc3',
        "byte order mark inside the file": b"\xef\xbb\xbf" + GOOD,
    },
    "json.depth": {
        "1,000 lists": b"[" * 1000 + b"]" * 1000,
        "100,000 open lists": b"[" * 100_000,
        "100,000 open objects": b'{"a":' * 100_000,
        "65 levels": with_metadata(b'{"a":' + b"[" * 63 + b"]" * 63 + b"}"),
    },
    "json.line_too_long": {
        "2 MB": with_prefix(b'"' + b"x" * (2 << 20) + b'"'),
        "50 MB": b"7" * (50 << 20),
        "5 MB of spaces": b" " * (5 << 20) + b"{}",
    },
    "row.not_object": {
        "list": b'["crops/0.png", "7"]',
        "string": b'"crops/0.png"',
        "number": b"7",
        "null": b"null",
        "true": b"true",
        "number of 5,000 digits": b"7" * 5000,
    },
    "row.missing_field": {
        "no image": b'{"suffix": "7"}',
        "no suffix": b'{"image": "crops/x.png"}',
        "Suffix in capitals": b'{"image": "crops/x.png", "Suffix": "7"}',
    },
}
