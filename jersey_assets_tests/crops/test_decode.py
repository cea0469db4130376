"""Every way to store a picture decodes to the pixels that a viewer shows."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from jersey_assets.crops.decode import ImageError, decode_crop
from jersey_assets.crops.prepare import resize_crop
from jersey_assets_tests.annotations.datasets import encoded, noise


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    upright = noise(1, (32, 48))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_crop(encoded(stored, kind, exif=exif))
    assert decoded.size == upright.size
    assert np.abs(pixels(decoded) - pixels(upright)).mean() < 8


def test_unreadable_exif_means_no_orientation() -> None:
    data = encoded(noise(1), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff junk")
    assert decode_crop(data).size == (24, 32)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    image = Image.fromarray(np.tile(ramp, (16, 1)))
    row = pixels(decode_crop(encoded(image)))[0]
    assert np.array_equal(row, np.repeat(np.arange(256)[:, None], 3, axis=1))


def test_alpha_is_composited_on_black() -> None:
    layer = Image.new("RGBA", (16, 16), (200, 100, 50, 128))
    assert decode_crop(encoded(layer)).getpixel((0, 0)) == (100, 50, 25)


def test_a_transparent_colour_becomes_black() -> None:
    image = Image.new("RGB", (16, 16), (10, 20, 30))
    image.putpixel((0, 0), (200, 0, 0))
    decoded = decode_crop(encoded(image, transparency=(10, 20, 30)))
    assert decoded.getpixel((5, 5)) == (0, 0, 0)
    assert decoded.getpixel((0, 0)) == (200, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_modes_decode_to_rgb(mode: str) -> None:
    decoded = decode_crop(encoded(noise(1).convert(mode)))
    assert decoded.mode == "RGB"
    assert decoded.size == (24, 32)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_jpeg_modes_decode_to_what_they_show(mode: str) -> None:
    picture = noise(1, (48, 64))
    decoded = decode_crop(encoded(picture.convert(mode), "JPEG", quality=95))
    shown = pixels(picture.convert(mode).convert("RGB"))
    assert np.abs(pixels(decoded) - shown).mean() < 8


JPEG_OPTIONS: list[dict[str, Any]] = [
    {"quality": 30},
    {"quality": 95, "subsampling": 0},
    {"subsampling": 1},
    {"optimize": True, "dpi": (72, 72)},
    {"restart_marker_rows": 1},
    {"progressive": True},
    {"comment": b"seen from the stand"},
    {"icc_profile": b"not a profile"},
    {"keep_rgb": True},
]


@pytest.mark.parametrize("options", JPEG_OPTIONS, ids=repr)
def test_a_jpeg_decodes_to_the_pixels_that_pillow_shows(
    options: dict[str, Any],
) -> None:
    data = encoded(noise(1, (37, 51)), "JPEG", **options)
    shown = Image.open(BytesIO(data)).convert("RGB")
    assert np.array_equal(pixels(decode_crop(data)), pixels(shown))


def test_a_damaged_jpeg_never_shows_what_pillow_would_not() -> None:
    rng = np.random.default_rng(1)
    data = encoded(noise(1), "JPEG")
    seen = 0
    for _ in range(2000):
        bad = bytearray(data)
        for place in rng.integers(0, len(bad), 2).tolist():
            change = rng.integers(0, 256, rng.integers(0, 3), np.uint8).tobytes()
            bad[place : place + int(rng.integers(0, 3))] = change
        with suppress(ImageError):
            crop = decode_crop(bytes(bad))
            shown = ImageOps.exif_transpose(Image.open(BytesIO(bad))).convert("RGB")
            assert np.array_equal(pixels(crop), pixels(shown))
            seen += 1
    assert seen > 100


def test_bytes_between_segments_hide_no_orientation() -> None:
    plain = encoded(noise(1, (40, 64)), "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(noise(1, (40, 64)), "JPEG", exif=exif)
    segment = turned[20 : 22 + int.from_bytes(turned[22:24])]
    assert segment.startswith(b"\xff\xe1")
    place = plain.index(b"\xff\xc4")
    for junk in (b"", b"\x00", b"\xff"):
        data = plain[:place] + junk + segment + plain[place:]
        with suppress(ImageError):
            assert decode_crop(data).size == (64, 40)


def test_a_limit_of_pixels_holds_before_decoding() -> None:
    data = encoded(noise(1, (40, 50)))
    assert decode_crop(data, max_pixels=2000).size == (40, 50)
    with pytest.raises(ImageError) as caught:
        decode_crop(data, max_pixels=1999)
    assert caught.value.reason == "image.too_large"


def test_every_cut_of_a_file_is_refused_or_shows_the_whole_picture() -> None:
    for kind in ("PNG", "JPEG"):
        data = encoded(noise(1), kind)
        whole = pixels(decode_crop(data))
        for size in range(0, len(data), 7):
            with suppress(ImageError):
                assert np.array_equal(pixels(decode_crop(data[:size])), whole)


def test_damaged_bytes_raise_nothing_but_image_errors() -> None:
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG"):
        data = np.frombuffer(encoded(noise(1), kind), np.uint8)
        for _ in range(300):
            bad = data.copy()
            bad[rng.integers(0, len(bad), 3)] = rng.integers(0, 256, 3)
            with suppress(ImageError):
                assert decode_crop(bad.tobytes()).mode == "RGB"


def test_resizing_stretches_to_a_square_of_bytes() -> None:
    square = resize_crop(noise(1, (24, 60)), 32)
    assert square.shape == (32, 32, 3)
    assert square.dtype == np.uint8
