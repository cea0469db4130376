"""Loads the crops of a split into one uint8 tensor, and chooses their size."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from jersey_assets.annotations.disk.confined import read_validated
from jersey_assets.crops.decode import decode_crop
from jersey_assets.crops.prepare import resize_crop
from jersey_assets.machine import allocate

if TYPE_CHECKING:
    import pandas as pd

_IN_MEMORY = 4 * 1024**3
"""Bytes of crops that are held in memory; more are kept in a temporary file."""


_LEAST_SIZE, _LARGEST_SIZE = 64, 96
"""Smallest and largest side of inputs that is chosen by the crops, px."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Crops:
    """The crops of a split, in the table's order.

    Attributes:
        images: uint8 [n, 3, S, S], RGB.
        targets: int64 [n], class indices.
        names: the images' paths, relative to the dataset root.
    """

    images: Tensor
    targets: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Number of crops."""
        return len(self.names)

    def __add__(self, other: Crops) -> Crops:
        """These crops, then the other ones."""
        if not len(other):
            return self
        images = _room(len(self) + len(other), self.images.shape[-1])
        images[: len(self)], images[len(self) :] = self.images, other.images
        return Crops(
            images,
            torch.cat((self.targets, other.targets)),
            self.names + other.names,
        )


def evaluation_split(table: pd.DataFrame) -> str:
    """Names the split that models are judged on: test, or valid if there is no test."""
    return "test" if (table["split"] == "test").any() else "valid"


def natural_size(table: pd.DataFrame) -> int:
    """Chooses the side of the input by the size of most crops, px.

    It is the median of the crops' longer sides, to the nearest multiple of 16 (the
    network halves its maps four times), from 64 to 96: below, digits of some 20 px
    would be lost in the first layers; above, a step's time grows faster than its
    benefit.

    Args:
        table: rows of the validated table (`width`, `height`, px).
    """
    middle = float(table[["width", "height"]].max(axis=1).median())
    size = min(max(16 * round(middle / 16), _LEAST_SIZE), _LARGEST_SIZE)
    log.info(
        "image_size: %d px, since the train crops' median longer side is %.0f px",
        size,
        middle,
    )
    return size


def load_crops(
    root: Path, table: pd.DataFrame, mapping: Mapping[str, int], image_size: int
) -> Crops:
    """Decodes the table's crops with the function that validated them.

    Args:
        root: the dataset root.
        table: rows of the validated table (`image`, `image_sha256`, `label`).
        mapping: label to class index.
        image_size: side of the square that each crop is stretched to, px.

    Raises:
        AnnotationError: an image has changed since it was validated.
    """
    rows = zip(table["image"], table["image_sha256"], strict=True)
    files = (read_validated(root, name, digest) for name, digest in rows)
    labels, names = table["label"], tuple(table["image"])
    return _decode(files, labels, names, mapping, image_size)


def load_split(
    root: Path,
    table: pd.DataFrame,
    split: str,
    mapping: Mapping[str, int],
    image_size: int,
) -> Crops:
    """Decodes the crops of one split of the table, as `load_crops` does."""
    return load_crops(root, table[table["split"] == split], mapping, image_size)


def load_drawn(
    table: pd.DataFrame, mapping: Mapping[str, int], image_size: int
) -> Crops:
    """Decodes drawn crops.

    Args:
        table: rows of `label` and `png`, the file's bytes.
        mapping: label to class index.
        image_size: side of the square that each crop is stretched to, px.
    """
    names = tuple(f"drawn {index}" for index in range(len(table)))
    return _decode(table["png"], table["label"], names, mapping, image_size)


def _decode(
    files: Iterable[bytes],
    labels: Iterable[str],
    names: tuple[str, ...],
    mapping: Mapping[str, int],
    image_size: int,
) -> Crops:
    images = _room(len(names), image_size)
    pixels = images.permute(0, 2, 3, 1).numpy()
    for index, data in enumerate(files):
        pixels[index] = resize_crop(decode_crop(data), image_size)
    targets = torch.tensor([mapping[label] for label in labels], dtype=torch.int64)
    return Crops(images, targets, names)


def _room(count: int, size: int) -> Tensor:
    """Allocates an uninitialized tensor for crops: uint8 [count, 3, size, size].

    Raises:
        OSError: they need a file, and the disk (`TMPDIR`) has not enough space.
    """
    shape = count, 3, size, size
    if math.prod(shape) <= _IN_MEMORY:
        return torch.empty(shape, dtype=torch.uint8)
    # The file has no name, so it disappears with its last reader. Its blocks are
    # reserved now: a disk that fills up later would kill the process without a message.
    with tempfile.TemporaryFile() as file:
        allocate(file.fileno(), math.prod(shape))
        return torch.from_numpy(np.memmap(file, np.uint8, shape=shape))


def three_channels(values: Sequence[float]) -> tuple[float, float, float]:
    """Takes one value for each of red, green and blue.

    Raises:
        ValueError: there are not three.
    """
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turns crops into network input.

    Args:
        images: uint8 [n, 3, h, w], or float on the 0..255 scale.
        mean: channel means on the 0..1 scale.
        std: channel standard deviations on the 0..1 scale.

    Returns:
        float32 [n, 3, h, w] on the images' device.
    """
    shift = torch.tensor(mean, device=images.device).view(1, 3, 1, 1) * 255
    scale = torch.tensor(std, device=images.device).view(1, 3, 1, 1) * 255
    return (images.float() - shift) / scale
