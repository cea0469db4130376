"""Image files: `image.*` where they cannot be a crop."""

from __future__ import annotations

import os
import struct
import zlib

import pytest
from PIL import Image

from jersey_assets_tests.annotations.datasets import (
    BAD,
    JPEG,
    PNG,
    TRAIN,
    Dataset,
    check,
    encoded,
    noise,
    row,
)


def many_scans(count: int) -> bytes:
    """A JPEG whose last scan is sent again and again."""
    data = encoded(noise(3), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


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
