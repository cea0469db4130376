"""The same crop in two splits: `leak.*`."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from jersey_assets_tests.annotations.datasets import (
    BAD,
    TRAIN,
    VALID_ROWS,
    Dataset,
    check,
    encoded,
    noise,
    row,
)


def test_the_same_pixels_with_two_labels_in_two_splits_are_a_leak_that_says_so(
    good: Dataset,
) -> None:
    good.image("valid/crops/x.png", (good.root / "train/crops/0.png").read_bytes())
    good.lines("valid/annotations.jsonl", [row("crops/x.png", "23")])
    check(good, "quarantine", {(TRAIN, 1, "leak.exact")})
    assert 'labelled "23" there' in good.validate().rejected["message"][0]


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
