"""The image probe: opens each crop once, decodes it fully and measures it.

Runs in this process for a handful of images; for many, `probing` starts it as a
program of its own, which is why it imports no tables. Such a worker reads one JSON
line of paths after the other and answers each with a line of JSON and the raw bytes of
the measurements; it ends when its input does, so it cannot outlive a killed parent.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jersey_assets.annotations import files
from jersey_assets.annotations.images import ImageError, decode_crop
from jersey_assets.annotations.rules import Rules

_FLAT_RANGE = 12
"""A crop whose every channel spans no more than this shows nothing."""

_DULL = 2.0
"""Standard deviation of the 8 x 9 thumbnail under which its dHash is mere noise."""

_GREY = np.array([0.299, 0.587, 0.114])

SIGNATURE = ("device", "inode", "bytes", "mtime_ns", "ctime_ns")
"""What `stat` says of a file; any change of content changes it, save in one tick."""

PROBED = np.dtype(
    [
        *((name, "<i8") for name in SIGNATURE),
        ("width", "<i4"),
        ("height", "<i4"),
        ("sha256", "V32"),
        ("pixels", "V32"),
        ("dhash", "<u8"),
        ("thumb", "u1", (72,)),
        ("dull", "?"),
        ("flat", "?"),
    ]
)
"""What is known of a crop: its file's signature, its size in pixels after the EXIF
orientation, the sha256 of the file and of size and RGB pixels, the 64-bit difference
hash and the grey 8 x 9 thumbnail that it comes from, whether that hash means little
(`dull`) and whether nothing can be seen (`flat`)."""


@dataclass(frozen=True)
class Probed:
    """Measurements of images, in the order asked.

    Attributes:
        values: array of dtype `PROBED`; zeros where an image has a fault.
        faults: reason and message by position.
    """

    values: NDArray[np.void]
    faults: dict[int, tuple[str, str]]


def probe_images(root: str, paths: Sequence[str], rules: Rules) -> Probed:
    """Open, decode and measure images.

    Args:
        root: the dataset's real root.
        paths: real posix paths relative to it; neighbours best share a folder.
        rules: limits on bytes and pixels.
    """
    values = np.zeros(len(paths), PROBED)
    good: list[int] = []
    found: list[_Measured] = []
    faults: dict[int, tuple[str, str]] = {}
    with CropReader(root, rules) as crops:
        for position, path in enumerate(paths):
            try:
                found.append(_measure(crops, path))
                good.append(position)
            except (ImageError, files.PathError) as error:
                faults[position] = error.reason, str(error)
        values[good] = _collect(found)
        for position in np.flatnonzero(values["dull"]).tolist():
            values["flat"][position] = _is_flat(crops, paths[position])
    return Probed(values, faults)


def thumbnails(root: str, paths: Sequence[str], rules: Rules) -> NDArray[np.uint8]:
    """Shrink crops to grey 32 x 32.

    Returns:
        uint8 array of shape [n, 1024]; zeros for a crop that can no longer be read.
    """
    small = np.zeros((len(paths), 1024), np.uint8)
    with CropReader(root, rules) as crops:
        for position, path in enumerate(paths):
            try:
                image = decode_crop(crops.read(path)[0], rules.max_pixels)
            except (ImageError, files.PathError):
                continue
            grey = image.convert("L").resize((32, 32), Image.Resampling.BOX)
            small[position] = np.asarray(grey).ravel()
    return small


class CropReader:
    """Reads image files of a dataset, keeping the last folder open."""

    def __init__(self, root: str, rules: Rules) -> None:
        """Start without any folder open."""
        self._root = root
        self._limit = rules.max_image_bytes
        self.max_pixels = rules.max_pixels
        self._parent = ""
        self._folder = -1

    def __enter__(self) -> CropReader:
        """Use as a context, so that the folder is closed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the last folder."""
        if self._folder >= 0:
            os.close(self._folder)

    def read(self, path: str) -> tuple[bytes, os.stat_result]:
        """Read a file whole, with what `fstat` said when it was opened.

        Raises:
            PathError: it is missing, no regular file or unreadable.
            ImageError: `image.too_large`, by bytes.
        """
        parent, _, name = path.rpartition("/")
        try:
            if self._folder < 0 or parent != self._parent:
                folder = files.open_folder(self._root, parent)
                self.__exit__(None, None, None)
                self._parent, self._folder = parent, folder
            data, status = files.read_regular(self._folder, name, self._limit)
        except OSError as error:
            raise files.path_error(error) from error
        if len(data) > self._limit:
            raise ImageError(
                "image.too_large",
                f"the file has more than {self._limit:,} bytes; store the crop, not "
                "the whole picture",
            )
        return data, status


class _Measured(NamedTuple):
    """What was measured of one crop."""

    status: os.stat_result
    size: tuple[int, int]
    file: bytes
    pixels: bytes
    thumb: bytes


def _measure(crops: CropReader, path: str) -> _Measured:
    data, status = crops.read(path)
    image = decode_crop(data, crops.max_pixels)
    pixels = hashlib.sha256(b"%dx%d:" % image.size)
    pixels.update(image.tobytes())
    small = image.resize((9, 8), Image.Resampling.BOX)
    file = hashlib.sha256(data).digest()
    return _Measured(status, image.size, file, pixels.digest(), small.tobytes())


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
    grey = thumbs.reshape(-1, 8, 9, 3) @ _GREY
    brighter = (grey[:, :, 1:] > grey[:, :, :-1]).reshape(-1, 64)
    values["dhash"] = np.packbits(brighter, axis=1).view(">u8").ravel()
    values["thumb"] = grey.reshape(-1, 72)
    values["dull"] = values["thumb"].std(axis=1) < _DULL
    return values


def signature(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Return what tells whether a file is still the same, as `SIGNATURE` names it."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _is_flat(crops: CropReader, path: str) -> bool:
    """Look at all pixels of a crop whose thumbnail is even."""
    image = decode_crop(crops.read(path)[0], crops.max_pixels)
    spans = [image.getchannel(band).getextrema() for band in range(3)]
    return all(float(high) - float(low) <= _FLAT_RANGE for low, high in spans)  # type: ignore[arg-type]


def settings_line(root: str, rules: Rules) -> bytes:
    """Write the first line that a worker reads."""
    return json.dumps({"root": root, "rules": asdict(rules)}).encode() + b"\n"


def _serve() -> None:
    """Answer until the input ends."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    settings = json.loads(questions.readline())
    rules = Rules(**settings["rules"])
    for question in questions:
        probed = probe_images(settings["root"], json.loads(question), rules)
        answers.write(json.dumps(probed.faults).encode() + b"\n")
        answers.write(probed.values.tobytes())
        answers.flush()


if __name__ == "__main__":
    _serve()
