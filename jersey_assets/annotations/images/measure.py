"""The image probe: opens each crop once, decodes it fully and measures it.

Runs in this process for a handful of images; for many, `measure_pool` starts it as a
program of its own, which is why it imports no tables. Such a worker reads one JSON line
of paths after another and answers each with a line of JSON and the raw bytes of the
measurements; it ends when its input does, so it cannot outlive a killed parent.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jersey_assets.annotations.disk.confined import ConfinedFiles, signature
from jersey_assets.annotations.disk.errors import PathError
from jersey_assets.crops.decode import ImageError, decode_crop

_FLAT_RANGE = 12
"""A crop is flat if none of its channels spans more than this."""

_DULL = 2.0
"""Standard deviation of a grey 8 x 9 thumbnail below which its dHash is noise."""

_THUMB = (16, 18)
"""Rows and columns of the thumbnail, twice those of the dHash."""

_GREY = np.array([0.299, 0.587, 0.114], np.float32)

SIGNATURE = ("device", "inode", "bytes", "mtime_ns", "ctime_ns")
"""A file's `stat`; changes with the content, except within one tick of the clock."""

PROBED = np.dtype(
    [
        *((name, "<i8") for name in SIGNATURE),
        ("width", "<i4"),
        ("height", "<i4"),
        ("sha256", "V32"),
        ("pixels", "V32"),
        ("dhash", "<u8"),
        ("thumb", "u1", (288,)),
        ("dull", "?"),
        ("flat", "?"),
    ]
)
"""What is measured of a crop: its file's signature, its size in pixels after the EXIF
orientation, the sha256 of the file and of size and RGB pixels, the 64-bit difference
hash, the grey 16 x 18 thumbnail that it is made from, whether the hash means little
(`dull`) and whether the crop shows nothing (`flat`)."""


READY = b"ready\n"
"""What a worker sends once it is ready."""


class Limits(NamedTuple):
    """How large an image may be: bytes of its file, and pixels (width times height)."""

    image_bytes: int
    pixels: int


@dataclass(frozen=True)
class Probed:
    """Measurements of images, in the order of their paths.

    Attributes:
        values: array of dtype `PROBED`; zeros for an image with a fault.
        faults: reason and message by position.
    """

    values: NDArray[np.void]
    faults: dict[int, tuple[str, str]]


def probe_images(root: str, paths: Sequence[str], limits: Limits) -> Probed:
    """Open, decode and measure images.

    Args:
        root: the dataset's real root.
        paths: real posix paths relative to it; fastest if grouped by folder.
        limits: how large an image may be.
    """
    values = np.zeros(len(paths), PROBED)
    good: list[int] = []
    found: list[_Measured] = []
    faults: dict[int, tuple[str, str]] = {}
    with ConfinedFiles(root) as files:
        for position, path in enumerate(paths):
            try:
                found.append(_measure(files, path, limits))
                good.append(position)
            except (ImageError, PathError) as error:
                faults[position] = error.reason, str(error)
    values[good] = _collect(found)
    return Probed(values, faults)


class _Measured(NamedTuple):
    """What was measured of one crop."""

    status: os.stat_result
    size: tuple[int, int]
    file: bytes
    pixels: bytes
    thumb: bytes
    flat: bool


def _measure(files: ConfinedFiles, path: str, limits: Limits) -> _Measured:
    data, status = files.read(path, limits.image_bytes)
    if len(data) > limits.image_bytes:
        raise ImageError(
            "image.too_large",
            f"the file has more than {limits.image_bytes:,} bytes; store the crop, "
            "not the whole picture",
        )
    image = decode_crop(data, limits.pixels)
    pixels = hashlib.sha256(b"%dx%d:" % image.size)
    pixels.update(image.tobytes())
    thumb = image.resize(_THUMB[::-1], Image.Resampling.BOX).tobytes()
    return _Measured(
        status,
        image.size,
        hashlib.sha256(data).digest(),
        pixels.digest(),
        thumb,
        _is_flat(image, thumb),
    )


def _is_flat(image: Image.Image, thumb: bytes) -> bool:
    """Say whether every channel is even."""
    # Averages span no more than the values they are taken of; most crops end here.
    some = thumb[:: 3 * 48]
    if max(some) - min(some) > _FLAT_RANGE:
        return False
    spans = cast(tuple[tuple[int, int], ...], image.getextrema())
    return all(high - low <= _FLAT_RANGE for low, high in spans)


def _collect(found: Sequence[_Measured]) -> NDArray[np.void]:
    """Turn measurements into an array, hashing all thumbnails at once."""
    values = np.zeros(len(found), PROBED)
    signatures = np.array([signature(m.status) for m in found], np.int64)
    for name, column in zip(SIGNATURE, signatures.reshape(-1, 5).T, strict=True):
        values[name] = column
    values["width"] = [measured.size[0] for measured in found]
    values["height"] = [measured.size[1] for measured in found]
    values["sha256"] = np.frombuffer(b"".join(m.file for m in found), "V32")
    values["pixels"] = np.frombuffer(b"".join(m.pixels for m in found), "V32")
    thumbs = np.frombuffer(b"".join(m.thumb for m in found), np.uint8)
    grey = thumbs.reshape(-1, *_THUMB, 3).astype(np.float32) @ _GREY
    columns = grey[:, :, ::2] + grey[:, :, 1::2]
    small = (columns[:, ::2] + columns[:, 1::2]) / 4
    brighter = (small[:, :, 1:] > small[:, :, :-1]).reshape(-1, 64)
    values["dhash"] = np.packbits(brighter, axis=1).view(">u8").ravel()
    values["thumb"] = grey.reshape(-1, math.prod(_THUMB))
    values["dull"] = small.std(axis=(1, 2)) < _DULL
    values["flat"] = [measured.flat for measured in found]
    return values


def settings_line(root: str, limits: Limits) -> bytes:
    """Write the first line that a worker reads."""
    return json.dumps([root, *limits]).encode() + b"\n"


def _serve() -> None:
    """Answer requests until the input ends."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    root, *limits = json.loads(questions.readline())
    answers.write(READY)
    answers.flush()
    for question in questions:
        probed = probe_images(root, json.loads(question), Limits(*limits))
        answers.write(json.dumps(probed.faults).encode() + b"\n")
        answers.write(probed.values.tobytes())
        answers.flush()


if __name__ == "__main__":
    _serve()
