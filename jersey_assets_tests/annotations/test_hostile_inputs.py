"""Every way in which a dataset can be wrong: one right answer each.

Each case spoils one thing in a dataset that holds and says what must be found: outcome,
file, line and reason, and nothing else. The line that is spoilt is line 13 of the train
file (or of a file of its own), after twelve good ones.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from jersey_assets.annotations.checks import verdicts
from jersey_assets.annotations.rules import Rules
from jersey_assets_tests.annotations.conftest import (
    TEST_ROWS,
    TRAIN_ROWS,
    VALID_ROWS,
    Dataset,
    assert_nothing_is_lost,
    encoded,
    found,
    noise,
    row,
)

TRAIN = "train/annotations.jsonl"
BAD = TRAIN_ROWS + 1
GOOD_ROWS = TRAIN_ROWS + VALID_ROWS + TEST_ROWS


def check(
    data: Dataset, outcome: str, expected: set[tuple[str, int, str]], **rules: object
) -> None:
    validation = data.validate(**rules)
    assert found(validation) == expected
    assert validation.summary["outcome"] == outcome
    assert_nothing_is_lost(validation)
    messages = [*validation.rejected["message"], *validation.warnings["message"]]
    assert all(len(message) < 600 for message in messages)


def many_scans(count: int) -> bytes:
    """A JPEG whose last scan is sent again and again."""
    data = encoded(noise(3), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def with_prefix(text: bytes) -> bytes:
    return b'{"image": "a", "suffix": "7", "prefix": %b}' % text


def with_metadata(text: bytes) -> bytes:
    return b'{"image": "a", "suffix": "7", "metadata": %b}' % text


GOOD = b'{"image": "crops/0.png", "suffix": "7"}'
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


@pytest.mark.parametrize(
    ("reason", "name"),
    [(reason, name) for reason, lines in JSON_LINES.items() for name in lines],
)
def test_a_line_that_is_no_annotation_is_set_aside(
    good: Dataset, reason: str, name: str
) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [JSON_LINES[reason][name]])
    check(good, "quarantine", {(TRAIN, BAD, reason)})


def test_an_empty_object_lacks_both_fields(good: Dataset) -> None:
    good.lines(TRAIN, [{}])
    check(good, "quarantine", {(TRAIN, BAD, "row.missing_field")})
    assert set(good.validate().rejected["field"]) == {"image", "suffix"}


TYPES = {
    "23": 23,
    "0": 0,
    "23.0": 23.0,
    "-1": -1,
    "true": True,
    "null": None,
    "list": ["23"],
    "object": {"number": "23"},
    "big": 10**400,
}


@pytest.mark.parametrize("value", TYPES)
def test_a_suffix_that_is_no_string_is_an_error_not_a_label(
    good: Dataset, value: str
) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", TYPES[value])])
    check(good, "quarantine", {(TRAIN, BAD, "row.wrong_type")})


@pytest.mark.parametrize("value", [7, 1.5, True, None, [], {}])
def test_an_image_that_is_no_string_is_set_aside(good: Dataset, value: object) -> None:
    good.lines(TRAIN, [{"image": value, "suffix": "7"}])
    check(good, "quarantine", {(TRAIN, BAD, "row.wrong_type")})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prefix", 7),
        ("prefix", ["Read"]),
        ("prefix", False),
        ("metadata", "red"),
        ("metadata", ["red"]),
        ("metadata", 7),
        ("metadata", True),
    ],
)
def test_an_optional_field_of_another_type_is_set_aside(
    good: Dataset, field: str, value: object
) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", "7", **{field: value})])
    check(good, "quarantine", {(TRAIN, BAD, "row.wrong_type")})


LABELS = {
    "a letter": ("a", "label.charset"),
    "a letter after digits": ("7a", "label.charset"),
    "minus": ("-7", "label.charset"),
    "decimal": ("7.", "label.charset"),
    "hash": ("#7", "label.charset"),
    "full-width digits": ("２３", "label.charset"),
    "Arabic digits": ("٢٣", "label.charset"),
    "superscript": ("²", "label.charset"),
    "circled": ("⑦", "label.charset"),
    "zero-width space": ("7\u200b", "label.charset"),
    "combining accent": ("7\u0301", "label.charset"),
    "NUL": ("7\x00", "label.charset"),
    "null as text": ("null", "label.charset"),
    "none as text": ("None", "label.charset"),
    "emoji": ("7️⃣", "label.charset"),
    "leading space": (" 7", "label.whitespace"),
    "trailing space": ("7 ", "label.whitespace"),
    "space alone": (" ", "label.whitespace"),
    "space between": ("2 3", "label.whitespace"),
    "trailing newline": ("23\n", "label.whitespace"),
    "newline between": ("2\n3", "label.whitespace"),
    "tab": ("7\t", "label.whitespace"),
    "no-break space": ("7\u00a0", "label.whitespace"),
    "three digits": ("123", "label.too_long"),
    "four zeros": ("0000", "label.too_long"),
    "a thousand digits": ("7" * 1000, "label.too_long"),
}


@pytest.mark.parametrize("name", LABELS)
def test_a_string_that_is_no_label_is_set_aside(good: Dataset, name: str) -> None:
    label, reason = LABELS[name]
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", label)])
    check(good, "quarantine", {(TRAIN, BAD, reason)})


@pytest.mark.parametrize("label", ["07", "01", "09"])
def test_a_leading_zero_is_kept_with_a_warning(good: Dataset, label: str) -> None:
    for number in range(5):
        good.image(f"train/crops/x{number}.png", 100 + number)
    good.lines(TRAIN, [row(f"crops/x{number}.png", label) for number in range(5)])
    lines = range(BAD, BAD + 5)
    expected = {(TRAIN, line, "label.leading_zero") for line in lines}
    check(good, "accept_with_warning", expected)


@pytest.mark.parametrize("label", ["", "0", "00", "5", "99"])
def test_labels_of_the_contract_are_kept_as_they_are(good: Dataset, label: str) -> None:
    for number in range(5):
        good.image(f"train/crops/x{number}.png", 100 + number)
    good.lines(TRAIN, [row(f"crops/x{number}.png", label) for number in range(5)])
    check(good, "accept", set())
    validated = good.validate().validated
    assert list(validated["label"][TRAIN_ROWS : TRAIN_ROWS + 5]) == [label] * 5


PATHS = {
    "empty": ("", "path.invalid"),
    "NUL": ("crops/x\x00.png", "path.invalid"),
    "newline": ("crops/x\n.png", "path.invalid"),
    "backslashes": ("crops\\0.png", "path.invalid"),
    "a name of 300 characters": ("crops/" + "x" * 300, "path.invalid"),
    "a path of 5,000 characters": ("crops/" * 1000, "path.invalid"),
    "absolute": ("/etc/passwd", "path.absolute"),
    "absolute device": ("/dev/zero", "path.absolute"),
    "double slash": ("//host/share/x.png", "path.absolute"),
    "Windows drive": ("C:\\crops\\x.png", "path.absolute"),
    "Windows drive, slashes": ("C:/crops/x.png", "path.absolute"),
    "UNC": ("\\\\host\\share\\x.png", "path.absolute"),
    "http": ("http://example.com/x.png", "path.scheme"),
    "https in capitals": ("HTTPS://example.com/x.png", "path.scheme"),
    "file": ("file:///etc/passwd", "path.scheme"),
    "s3": ("s3://bucket/x.png", "path.scheme"),
    "data": ("data:image/png;base64,iVBORw0KGgo=", "path.scheme"),
    "up and out": ("../../x.png", "path.escape"),
    "far up": ("../" * 20 + "etc/passwd", "path.escape"),
    "down, up and out": ("crops/../../../etc/passwd", "path.escape"),
    "missing": ("crops/none.png", "path.missing"),
    "missing folder": ("none/0.png", "path.missing"),
    "below a file": ("crops/0.png/0.png", "path.missing"),
    "other case": ("crops/0.PNG", "path.missing"),
    "percent-encoded": ("crops/%30.png", "path.missing"),
    "home": ("~/x.png", "path.missing"),
    "trailing space": ("crops/0.png ", "path.missing"),
    "other normal form": ("crops/e\u0301.png", "path.missing"),
    "folder": ("crops", "path.not_regular"),
    "folder with slash": ("crops/", "path.not_regular"),
    "dot": (".", "path.not_regular"),
    "the split itself": ("..", "path.not_regular"),
    "file with slash": ("crops/0.png/", "path.not_regular"),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_names_no_crop_is_set_aside(good: Dataset, name: str) -> None:
    path, reason = PATHS[name]
    good.image("train/crops/é.png", 99)
    good.lines(TRAIN, [row(path, "7")])
    check(good, "quarantine", {(TRAIN, BAD, reason)})


def link_out(data: Dataset) -> str:
    secret = data.root.parent / "secret.png"
    secret.write_bytes(encoded(noise(99)))
    (data.root / "train/crops/x.png").symlink_to(secret)
    return "path.symlink_escape"


def link_to_zero(data: Dataset) -> str:
    (data.root / "train/crops/x.png").symlink_to("/dev/zero")
    return "path.symlink_escape"


def link_chain_out(data: Dataset) -> str:
    (data.root / "train/crops/y.png").symlink_to("/dev/zero")
    (data.root / "train/crops/x.png").symlink_to("y.png")
    return "path.symlink_escape"


def link_out_by_dots(data: Dataset) -> str:
    (data.root.parent / "secret.png").write_bytes(encoded(noise(99)))
    (data.root / "train/crops/x.png").symlink_to("../../../secret.png")
    return "path.symlink_escape"


def dangling_link(data: Dataset) -> str:
    (data.root / "train/crops/x.png").symlink_to("nowhere.png")
    return "path.missing"


def link_to_itself(data: Dataset) -> str:
    (data.root / "train/crops/x.png").symlink_to("x.png")
    return "path.not_regular"


def link_to_folder(data: Dataset) -> str:
    (data.root / "train/crops/x.png").symlink_to(".")
    return "path.not_regular"


def fifo(data: Dataset) -> str:
    os.mkfifo(data.root / "train/crops/x.png")
    return "path.not_regular"


def link_to_fifo(data: Dataset) -> str:
    os.mkfifo(data.root / "train/pipe")
    (data.root / "train/crops/x.png").symlink_to("../pipe")
    return "path.not_regular"


def unix_socket(data: Dataset) -> str:
    here = os.open(data.root / "train/crops", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{here}/x.png")
    os.close(here)
    return "path.not_regular"


@pytest.mark.parametrize(
    "make",
    [
        link_out,
        link_to_zero,
        link_chain_out,
        link_out_by_dots,
        dangling_link,
        link_to_itself,
        link_to_folder,
        fifo,
        link_to_fifo,
        unix_socket,
    ],
)
def test_what_is_no_file_of_the_dataset_is_never_read(
    good: Dataset, make: Callable[[Dataset], str]
) -> None:
    reason = make(good)
    good.lines(TRAIN, [row("crops/x.png", "7")])
    check(good, "quarantine", {(TRAIN, BAD, reason)})


def test_a_folder_that_links_out_is_never_entered(good: Dataset) -> None:
    outside = Dataset(good.root.parent / "outside")
    outside.image("x.png", 99)
    (good.root / "train/more").symlink_to(outside.root)
    good.lines(TRAIN, [row("more/x.png", "7")])
    check(good, "quarantine", {(TRAIN, BAD, "path.symlink_escape")})


def png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_header(width: int, height: int) -> bytes:
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", size)


def empty_png(width: int, height: int, data: bytes = b"") -> bytes:
    return (
        png_header(width, height) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    )


def with_flipped_byte(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


PNG = encoded(noise(99))
JPEG = encoded(noise(99, (80, 120)), "JPEG", quality=90)
BROKEN_IMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "image.empty"),
    "text": (b"not an image", "image.format"),
    "HTML": (b"<html><body>404</body></html>", "image.format"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image.format"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "image.format"),
    "GIF": (encoded(noise(99), "GIF"), "image.format"),
    "BMP": (encoded(noise(99), "BMP"), "image.format"),
    "TIFF": (encoded(noise(99), "TIFF"), "image.format"),
    "WebP": (encoded(noise(99), "WEBP"), "image.format"),
    "PPM": (encoded(noise(99), "PPM"), "image.format"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9", "image.format"),
    "zeros": (bytes(1000), "image.format"),
    "half a PNG": (PNG[: len(PNG) // 2], "image.truncated"),
    "PNG without its end": (PNG[:-12], "image.truncated"),
    "PNG signature alone": (PNG[:8], "image.truncated"),
    "PNG header alone": (png_header(24, 32), "image.truncated"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "image.truncated"),
    "JPEG cut near its end": (JPEG[:-200], "image.truncated"),
    "JPEG signature alone": (JPEG[:4], "image.truncated"),
    "JPEG cut in its header": (JPEG[:150], "image.truncated"),
    "PNG with a wrong checksum": (with_flipped_byte(PNG, -13), "image.corrupt"),
    "PNG with damaged pixels": (with_flipped_byte(PNG, 300), "image.corrupt"),
    "PNG with a damaged header": (with_flipped_byte(PNG, 20), "image.corrupt"),
    "PNG of no width": (empty_png(0, 32), "image.corrupt"),
    "PNG with wrong deflate data": (empty_png(24, 32, b"junk" * 50), "image.corrupt"),
    "JPEG of no size": (
        JPEG.replace(b"\x00\x11\x08\x00\x78\x00\x50", b"\x00\x11\x08\x00\x00\x00\x50"),
        "image.corrupt",
    ),
    "JPEG of a thousand scans": (many_scans(1000), "image.decode"),
    "88 megapixels of nothing": (empty_png(9400, 9400), "image.too_large"),
    "a bomb of 10 gigapixels": (empty_png(100_000, 100_000), "image.too_large"),
    "17 megapixels": (encoded(Image.new("1", (4100, 4100))), "image.too_large"),
    "one pixel": (encoded(noise(99, (1, 1))), "image.too_small"),
    "4 x 4": (encoded(noise(99, (4, 4))), "image.too_small"),
    "7 wide": (encoded(noise(99, (7, 32))), "image.too_small"),
    "a strip": (encoded(noise(99, (200, 10))), "image.aspect"),
    "a pole": (encoded(noise(99, (10, 200))), "image.aspect"),
}


@pytest.mark.parametrize("name", BROKEN_IMAGES)
def test_an_image_that_cannot_be_a_crop_is_set_aside(good: Dataset, name: str) -> None:
    data, reason = BROKEN_IMAGES[name]
    good.image("train/crops/x.png", data)
    good.lines(TRAIN, [row("crops/x.png", "7")])
    check(good, "quarantine", {(TRAIN, BAD, reason)})


def test_what_lies_behind_a_jpeg_is_none_of_its_scans(good: Dataset) -> None:
    good.image("train/crops/x.png", JPEG + b"\xff\xda" * 1000)
    good.image("train/crops/y.png", many_scans(20))
    good.lines(TRAIN, [row("crops/x.png", "7"), row("crops/y.png", "7")])
    check(good, "accept", set())


def test_an_image_file_beyond_the_limit_is_not_read_whole(good: Dataset) -> None:
    path = good.root / "train/crops/x.png"
    path.write_bytes(PNG)
    os.truncate(path, 10 << 30)
    good.lines(TRAIN, [row("crops/x.png", "7")])
    check(good, "quarantine", {(TRAIN, BAD, "image.too_large")})


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 10, 10)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_flat_crop_is_kept_with_a_warning(
    good: Dataset, colour: tuple[int, int, int], kind: str
) -> None:
    flat = Image.new("RGB", (24, 32), colour)
    good.image("train/crops/x.png", encoded(flat, kind))
    good.lines(TRAIN, [row("crops/x.png", "7")])
    check(good, "accept_with_warning", {(TRAIN, BAD, "image.flat")})


JSONL = b'{"image": "crops/x.png", "suffix": "7"}\n'
FOREIGN_FILES = {
    "AppleDouble": b"\x00\x05\x16\x07\n" + JSONL,
    "gzip": gzip.compress(JSONL * 10),
    "ZIP": b"PK\x03\x04" + JSONL,
    "UTF-16": JSONL.decode().encode("utf-16"),
    "UTF-16 little": JSONL.decode().encode("utf-16-le"),
    "UTF-16 big": JSONL.decode().encode("utf-16-be"),
    "UTF-32": JSONL.decode().encode("utf-32"),
    "JPEG": JPEG,
    "binary": bytes(range(128, 256)) * 4,
}


@pytest.mark.parametrize("name", FOREIGN_FILES)
def test_a_file_that_is_no_jsonl_rejects_the_dataset(good: Dataset, name: str) -> None:
    good.bytes("train/more.jsonl", FOREIGN_FILES[name])
    check(good, "reject", {("train/more.jsonl", 0, "file.encoding")})


def file_is_fifo(data: Dataset) -> None:
    os.mkfifo(data.root / "train/more.jsonl")


def file_is_folder(data: Dataset) -> None:
    (data.root / "train/more.jsonl").mkdir()


def file_links_out(data: Dataset) -> None:
    (data.root.parent / "secret.jsonl").write_bytes(JSONL)
    (data.root / "train/more.jsonl").symlink_to("../../secret.jsonl")


def file_links_to_zero(data: Dataset) -> None:
    (data.root / "train/more.jsonl").symlink_to("/dev/zero")


def file_links_nowhere(data: Dataset) -> None:
    (data.root / "train/more.jsonl").symlink_to("nowhere")


def file_links_to_fifo(data: Dataset) -> None:
    os.mkfifo(data.root / "train/pipe")
    (data.root / "train/more.jsonl").symlink_to("pipe")


@pytest.mark.parametrize(
    "make",
    [
        file_is_fifo,
        file_is_folder,
        file_links_out,
        file_links_to_zero,
        file_links_nowhere,
        file_links_to_fifo,
    ],
)
def test_an_annotation_file_that_is_no_file_rejects_the_dataset(
    good: Dataset, make: Callable[[Dataset], None]
) -> None:
    make(good)
    check(good, "reject", {("train/more.jsonl", 0, "file.not_regular")})


def test_an_annotation_file_without_a_utf8_name_rejects_the_dataset(
    good: Dataset,
) -> None:
    path = os.fsencode(good.root) + b"/train/caf\xe9.jsonl"
    with open(path, "wb") as stream:
        stream.write(JSONL)
    check(good, "reject", {(r"train/caf\xe9.jsonl", 0, "file.unreadable")})


def test_a_chain_of_links_without_end_is_named(good: Dataset) -> None:
    for n in range(1050):
        (good.root / f"train/crops/l{n}.png").symlink_to(f"l{n + 1}.png")
    (good.root / "train/crops/l1050.png").symlink_to("0.png")
    good.lines(TRAIN, [row("crops/l0.png", "7")])
    check(good, "quarantine", {(TRAIN, BAD, "path.unreadable")})


def test_companions_that_macos_writes_are_no_annotations(good: Dataset) -> None:
    good.bytes("train/._annotations.jsonl", b"\x00\x05\x16\x07" + bytes(100))
    check(good, "accept", set())
    good.bytes("train/._annotations.jsonl", GOOD + b"\n")
    check(
        good,
        "accept_with_warning",
        {(TRAIN, 1, "label.duplicate")},
    )


def test_a_folder_that_links_out_of_the_dataset_is_not_searched(good: Dataset) -> None:
    (good.root.parent / "outside").mkdir()
    (good.root.parent / "outside/more.jsonl").write_bytes(JSONL)
    (good.root / "train/more").symlink_to("../../outside")
    check(good, "accept", set())


def test_a_split_that_links_out_of_the_dataset_is_refused(good: Dataset) -> None:
    (good.root / "test").rename(good.root.parent / "outside")
    (good.root / "test").symlink_to("../outside")
    check(good, "reject", {("test", 0, "file.not_regular")})


def test_one_image_with_two_labels_is_set_aside_with_both_lines(good: Dataset) -> None:
    good.lines(TRAIN, [row("crops/0.png", "23")])
    check(
        good,
        "quarantine",
        {(TRAIN, 1, "label.conflict"), (TRAIN, BAD, "label.conflict")},
    )
    messages = list(good.validate().rejected["message"])
    assert f"{TRAIN}:{BAD}" in messages[0]
    assert f"{TRAIN}:1" in messages[1]


def test_labels_conflict_over_splits_too(good: Dataset) -> None:
    good.lines("valid/annotations.jsonl", [row("../train/crops/0.png", "23")])
    check(
        good,
        "quarantine",
        {
            (TRAIN, 1, "label.conflict"),
            ("valid/annotations.jsonl", VALID_ROWS + 1, "label.conflict"),
        },
    )


def test_labels_conflict_behind_a_link(good: Dataset) -> None:
    (good.root / "train/crops/x.png").symlink_to("0.png")
    good.lines(TRAIN, [row("crops/x.png", "23")])
    check(
        good,
        "quarantine",
        {(TRAIN, 1, "label.conflict"), (TRAIN, BAD, "label.conflict")},
    )


def test_the_same_pixels_with_two_labels_in_one_split_conflict(good: Dataset) -> None:
    with Image.open(good.root / "train/crops/0.png") as image:
        good.image("train/crops/x.png", encoded(image, compress_level=1))
    good.lines(TRAIN, [row("crops/x.png", "23")])
    check(
        good,
        "quarantine",
        {(TRAIN, 1, "label.conflict"), (TRAIN, BAD, "label.conflict")},
    )


def test_the_same_pixels_with_two_labels_in_two_splits_are_a_leak_that_says_so(
    good: Dataset,
) -> None:
    good.image("valid/crops/x.png", (good.root / "train/crops/0.png").read_bytes())
    good.lines("valid/annotations.jsonl", [row("crops/x.png", "23")])
    check(good, "quarantine", {(TRAIN, 1, "leak.exact")})
    assert 'labelled "23" there' in good.validate().rejected["message"][0]


def test_an_image_with_very_many_labels_is_told_in_short_sentences(
    good: Dataset,
) -> None:
    good.image("train/crops/x.png", 99)
    labels = [str(n % 100) for n in range(3000)]
    good.lines(TRAIN, [row("crops/x.png", label) for label in labels])
    validation = good.validate()
    assert_nothing_is_lost(validation)
    conflicts = validation.rejected
    assert set(conflicts["reason"]) == {"label.conflict"}
    assert len(conflicts) == 3000
    assert conflicts["message"].str.len().max() < 400
    assert "and 96 more" in conflicts["message"][0]
    assert all(len(v.message) < 3000 for v in verdicts(validation, Rules()))


def test_prefer_number_keeps_only_a_row_that_holds(good: Dataset) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", "7", prefix=5), row("crops/x.png", "")])
    check(
        good,
        "quarantine",
        {
            (TRAIN, BAD, "row.wrong_type"),
            (TRAIN, BAD, "label.conflict"),
            (TRAIN, BAD + 1, "label.conflict"),
        },
        conflict_policy="prefer_number",
    )


def test_prefer_number_excuses_no_other_fault(good: Dataset) -> None:
    for n in range(4):
        good.image(f"train/crops/x{n}.png", b"no picture")
        rows = [row(f"crops/x{n}.png", label) for label in ["", "", "", "", "7"]]
        good.lines(TRAIN, rows)
    refused = good.validate(conflict_policy="prefer_number")
    assert refused.summary["outcome"] == "reject"
    assert refused.summary["resolved"] == 0


@pytest.mark.parametrize(
    "spelling", ["crops/0.png", "./crops//0.png", "crops/../crops/0.png"]
)
def test_the_same_annotation_twice_is_merged(good: Dataset, spelling: str) -> None:
    good.lines(TRAIN, [row(spelling, "7")])
    check(good, "accept_with_warning", {(TRAIN, BAD, "label.duplicate")})


def test_prefer_number_keeps_the_number_and_says_which(good: Dataset) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", ""), row("crops/x.png", "7")])
    check(
        good,
        "quarantine",
        {(TRAIN, BAD, "label.conflict")},
        conflict_policy="prefer_number",
    )
    validation = good.validate(conflict_policy="prefer_number")
    assert validation.summary["resolved"] == 1
    assert f"{TRAIN}:{BAD + 1}" in validation.rejected["message"].iloc[0]


def test_prefer_number_does_not_choose_between_two_numbers(good: Dataset) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", label) for label in ("", "7", "23")])
    check(
        good,
        "quarantine",
        {(TRAIN, BAD + n, "label.conflict") for n in range(3)},
        conflict_policy="prefer_number",
    )


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_label_that_train_lacks_is_set_aside(good: Dataset, split: str) -> None:
    good.image(f"{split}/crops/x.png", 99)
    good.lines(f"{split}/annotations.jsonl", [row("crops/x.png", "42")])
    line = (VALID_ROWS if split == "valid" else TEST_ROWS) + 1
    check(good, "quarantine", {(f"{split}/annotations.jsonl", line, "label.unknown")})


def test_a_rare_label_is_kept_with_a_warning(good: Dataset) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", "42")])
    check(good, "accept_with_warning", {(TRAIN, BAD, "label.rare")})


def test_a_dataset_without_train_is_rejected(good: Dataset) -> None:
    (good.root / "train").rename(good.root / "training")
    check(good, "reject", {("train", 0, "dataset.no_train")})


def test_a_dataset_without_valid_is_rejected(good: Dataset) -> None:
    (good.root / "valid").rename(good.root / "validation")
    check(good, "reject", {("valid", 0, "dataset.no_valid")})


def test_an_empty_train_file_is_no_train(good: Dataset) -> None:
    good.bytes(TRAIN, b"")
    check(good, "reject", {("train", 0, "dataset.no_train")})


def test_a_dataset_of_one_label_is_rejected(good: Dataset) -> None:
    for split, count in (("train", 12), ("valid", 4), ("test", 4)):
        rows = [row(f"crops/{n}.png", "7") for n in range(count)]
        text = "".join(json.dumps(r) + "\n" for r in rows).encode()
        good.bytes(f"{split}/annotations.jsonl", text)
    check(good, "reject", {("train", 0, "dataset.single_class")})


def test_every_fault_of_a_row_is_reported_at_once(good: Dataset) -> None:
    good.lines(TRAIN, [{"image": "crops/none.png", "suffix": 23, "prefix": 1}])
    validation = good.validate()
    reasons = list(validation.rejected["reason"])
    assert sorted(reasons) == ["path.missing", "row.wrong_type", "row.wrong_type"]
    assert validation.summary["rejected"] == 1
    assert_nothing_is_lost(validation)


@pytest.mark.parametrize(
    "line",
    [
        b'{"image": "crops/x.png", "suffix": "7"}\r',
        b'  {"image": "crops/x.png", "suffix": "7"}\t ',
        b'{"suffix":"7","image":"crops/x.png"}',
        rb'{"image": "crops\/x.png", "suffix": "\u0037"}',
        b'{"image": "crops/x.png", "suffix": "7", "metadata": {}}',
        b'{"image": "crops/x.png", "suffix": "7", "metadata": null, "prefix": null}',
        b'{"image": "crops/x.png", "suffix": "7", "id": 4, "tags": ["a", {"b": 1}]}',
        b'{"image": "crops/x.png", "suffix": "7", "metadata": {"box": [1, 2, 3, 4]}}',
        b'{"image": "crops/x.png", "suffix": "7", "metadata": {"n": 1e400}}'.replace(
            b"1e400", b"1" * 400
        ),
        '{"image": "crops/x.png", "suffix": "7", "prefix": "Zahl: 读"}'.encode(),
        rb'{"image": "crops/x.png", "suffix": "7", "prefix": "\ud83d\ude00 \u003a"}',
    ],
)
def test_unusual_lines_that_hold_are_kept(good: Dataset, line: bytes) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [line])
    check(good, "accept", set())


def test_blank_lines_are_no_rows_but_count_as_lines(good: Dataset) -> None:
    old = (good.root / TRAIN).read_bytes()
    good.bytes(TRAIN, b"\n \t\r\n" + old + b'\n\r\n{"image": 1, "suffix": "7"}')
    check(good, "quarantine", {(TRAIN, 2 + TRAIN_ROWS + 3, "row.wrong_type")})


def test_a_byte_order_mark_costs_the_first_row(good: Dataset) -> None:
    old = (good.root / TRAIN).read_bytes()
    good.bytes(TRAIN, b"\xef\xbb\xbf" + old)
    check(good, "quarantine", {(TRAIN, 1, "json.encoding")})


def test_a_cut_last_line_costs_that_row_alone(good: Dataset) -> None:
    old = (good.root / TRAIN).read_bytes()
    good.bytes(TRAIN, old[:-10])
    check(good, "quarantine", {(TRAIN, TRAIN_ROWS, "json.syntax")})


def test_a_missing_last_line_feed_costs_nothing(good: Dataset) -> None:
    old = (good.root / TRAIN).read_bytes()
    good.bytes(TRAIN, old.rstrip(b"\n"))
    check(good, "accept", set())


def test_line_separators_inside_strings_do_not_split_lines(good: Dataset) -> None:
    for number, mark in enumerate("\u2028\u2029\x85\x7f"):
        good.image(f"train/crops/x{number}.png", 90 + number)
        line = row(f"crops/x{number}.png", "7", prefix=f"a{mark}b")
        good.lines(TRAIN, [json.dumps(line, ensure_ascii=False).encode()])
    check(good, "accept", set())


def test_macos_companion_files_hold_no_rows(good: Dataset) -> None:
    good.bytes("train/._annotations.jsonl", b"\x00\x05\x16\x07\x00\x02\x00\x00" * 10)
    check(good, "accept", set())


def test_val_is_another_name_of_valid(good: Dataset) -> None:
    (good.root / "valid").rename(good.root / "val")
    validation = good.validate()
    assert validation.summary["splits"]["valid"] == {"rows": 4, "kept": 4}
    assert validation.summary["outcome"] == "accept"


def test_files_at_any_depth_are_read(good: Dataset) -> None:
    good.image("train/a/b/c/x.png", 99)
    good.lines("train/a/b/c/deep.jsonl", [row("x.png", "7")])
    check(good, "accept", set())


def test_links_that_stay_inside_are_followed(good: Dataset) -> None:
    good.image("pool/x.png", 99)
    (good.root / "train/x.png").symlink_to("../pool/x.png")
    good.lines("pool/more.txt", [row("x.png", "7")])
    (good.root / "train/more.jsonl").symlink_to("../pool/more.txt")
    check(good, "accept", set())
    assert "pool/x.png" in set(good.validate().validated["image"])


def test_folders_that_link_to_each_other_end(good: Dataset) -> None:
    (good.root / "train/again").symlink_to(".")
    (good.root / "train/crops/up").symlink_to("..")
    told = {(f"train/{name}", 0, "file.linked") for name in ("again", "crops/up")}
    check(good, "accept_with_warning", told)


def test_three_digits_are_labels_where_the_pattern_says_so(good: Dataset) -> None:
    for number in range(5):
        good.image(f"train/crops/x{number}.png", 100 + number)
    good.lines(TRAIN, [row(f"crops/x{number}.png", "123") for number in range(5)])
    check(good, "accept", set(), label_pattern="[0-9]{0,3}")


@dataclass(frozen=True)
class Stored:
    """One way to store the same pixels."""

    name: str
    data: bytes


def same_pixels() -> list[Stored]:
    picture = noise(99)
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned; viewers turn it back
    opaque = picture.convert("RGBA")
    palette = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(palette, "PNG", optimize=True)
    return [
        Stored("the same file", encoded(picture)),
        Stored("trailing bytes", encoded(picture) + b"trailing"),
        Stored("another compression", encoded(picture, compress_level=0)),
        Stored("EXIF orientation", encoded(turned, exif=exif)),
        Stored("opaque alpha", encoded(opaque)),
        Stored("optimized", palette.getvalue()),
    ]


@pytest.mark.parametrize("stored", same_pixels(), ids=lambda s: s.name)
def test_identical_pixels_in_two_splits_leave_train(
    good: Dataset, stored: Stored
) -> None:
    good.image("train/crops/x.png", stored.data)
    good.image("valid/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", "7")])
    good.lines("valid/annotations.jsonl", [row("crops/x.png", "7")])
    check(good, "quarantine", {(TRAIN, BAD, "leak.exact")})


def test_identical_pixels_in_valid_and_test_leave_valid(good: Dataset) -> None:
    good.image("test/crops/x.png", 99)
    good.lines("test/annotations.jsonl", [row("crops/x.png", "7")])
    good.lines("valid/annotations.jsonl", [row("../test/crops/x.png", "7")])
    expected = {("valid/annotations.jsonl", VALID_ROWS + 1, "leak.exact")}
    check(good, "quarantine", expected)


NEAR = {
    "JPEG 60": lambda image: encoded(image, "JPEG", quality=60),
    "JPEG 90": lambda image: encoded(image, "JPEG", quality=90),
    "half the size": lambda image: encoded(image.resize((24, 32))),
    "brighter": lambda image: encoded(image.point(lambda value: min(value + 12, 255))),
    "cropped": lambda image: encoded(image.crop((1, 1, 47, 63))),
}


@pytest.mark.parametrize("name", NEAR)
def test_near_copies_in_two_splits_are_kept_with_a_warning(
    good: Dataset, name: str
) -> None:
    picture = noise(99, (48, 64))
    good.image("train/crops/x.png", NEAR[name](picture))
    good.image("test/crops/x.png", picture)
    good.lines(TRAIN, [row("crops/x.png", "7")])
    good.lines("test/annotations.jsonl", [row("crops/x.png", "7")])
    check(good, "accept_with_warning", {(TRAIN, BAD, "leak.near")})


def test_a_mirrored_crop_is_another_picture(good: Dataset) -> None:
    picture = noise(99, (48, 64))
    good.image("train/crops/x.png", picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    good.image("test/crops/x.png", picture)
    good.lines(TRAIN, [row("crops/x.png", "7")])
    good.lines("test/annotations.jsonl", [row("crops/x.png", "7")])
    check(good, "accept", set())


def test_flat_crops_in_two_splits_are_no_leak(good: Dataset) -> None:
    for split in ("train", "valid"):
        black = Image.new("RGB", (24, 32))
        good.image(f"{split}/crops/x.png", black)
        good.lines(f"{split}/annotations.jsonl", [row("crops/x.png", "7")])
    check(
        good,
        "accept_with_warning",
        {
            (TRAIN, BAD, "image.flat"),
            ("valid/annotations.jsonl", VALID_ROWS + 1, "image.flat"),
        },
    )
