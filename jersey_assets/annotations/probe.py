"""The image probe: opens each crop once, decodes it fully and measures it.

Imports no tables, so that worker processes of `probing` start fast.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

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
        ("dull", "?"),
        ("flat", "?"),
    ]
)
"""What is known of a crop: its file's signature, its size in pixels after the EXIF
orientation, the sha256 of the file and of size and RGB pixels, the 64-bit difference
hash, whether that hash means little (`dull`), whether nothing can be seen (`flat`)."""


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
    thumbs = np.zeros((len(paths), 8, 9, 3), np.uint8)
    faults: dict[int, tuple[str, str]] = {}
    with CropReader(root, rules) as crops:
        for position, path in enumerate(paths):
            try:
                values[position], thumbs[position] = _measure(crops, path)
            except (ImageError, files.PathError) as error:
                faults[position] = error.reason, str(error)
        _hash_thumbs(values, thumbs)
        for position in np.flatnonzero(values["dull"]).tolist():
            if position not in faults:
                values["flat"][position] = _is_flat(crops, paths[position])
    return Probed(values, faults)


def thumbnails(root: str, paths: Sequence[str], rules: Rules) -> NDArray[np.float32]:
    """Shrink crops to grey 32 x 32, each of zero mean and unit length.

    Returns:
        float32 array of shape [n, 1024], so that a dot product is a correlation; zeros
        for a crop that can no longer be read.
    """
    small = np.zeros((len(paths), 1024), np.float32)
    with CropReader(root, rules) as crops:
        for position, path in enumerate(paths):
            try:
                image = decode_crop(crops.read(path)[0], rules.max_pixels)
            except (ImageError, files.PathError):
                continue
            grey = image.convert("L").resize((32, 32), Image.Resampling.BOX)
            small[position] = np.asarray(grey, np.float32).ravel()
    small -= small.mean(axis=1, keepdims=True)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    small /= np.maximum(length, 1e-6)
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
        parent, name = os.path.split(path)
        try:
            if self._folder < 0 or parent != self._parent:
                folder = files.open_folder(self._root, parent)
                self.__exit__(None, None, None)
                self._parent, self._folder = parent, folder
            descriptor = files.open_regular(self._folder, name)
            status = os.fstat(descriptor)
            data = files.read_descriptor(descriptor, self._limit)
        except OSError as error:
            raise files.path_error(error) from error
        if len(data) > self._limit:
            raise ImageError(
                "image.too_large",
                f"the file has more than {self._limit:,} bytes; store the crop, not "
                "the whole picture",
            )
        return data, status


def _measure(
    crops: CropReader, path: str
) -> tuple[tuple[object, ...], NDArray[np.uint8]]:
    data, status = crops.read(path)
    image = decode_crop(data, crops.max_pixels)
    pixels = hashlib.sha256(b"%dx%d:" % image.size)
    pixels.update(image.tobytes())
    small = image.resize((9, 8), Image.Resampling.BOX).tobytes()
    value = (
        *signature(status),
        *image.size,
        hashlib.sha256(data).digest(),
        pixels.digest(),
        0,
        False,
        False,
    )
    return value, np.frombuffer(small, np.uint8).reshape(8, 9, 3)


def signature(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Return what tells whether a file is still the same, as `SIGNATURE` names it."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _hash_thumbs(values: NDArray[np.void], thumbs: NDArray[np.uint8]) -> None:
    """Compute the difference hashes of a whole batch at once."""
    grey = thumbs @ _GREY
    brighter = (grey[:, :, 1:] > grey[:, :, :-1]).reshape(-1, 64)
    values["dhash"] = np.packbits(brighter, axis=1).view(">u8").ravel()
    values["dull"] = grey.reshape(-1, 72).std(axis=1) < _DULL


def _is_flat(crops: CropReader, path: str) -> bool:
    """Look at all pixels of a crop whose thumbnail is even."""
    image = decode_crop(crops.read(path)[0], crops.max_pixels)
    spans = [image.getchannel(band).getextrema() for band in range(3)]
    return all(float(high) - float(low) <= _FLAT_RANGE for low, high in spans)  # type: ignore[arg-type]
