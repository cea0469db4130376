"""Crops as the network sees them: decoded once into one uint8 tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from jersey_assets.annotations.files import read_validated
from jersey_assets.annotations.images import decode_crop, resize_crop


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
        return Crops(
            torch.cat((self.images, other.images)),
            torch.cat((self.targets, other.targets)),
            self.names + other.names,
        )


def evaluation_split(table: pd.DataFrame) -> str:
    """Names the split that models are judged on: test, or valid without one."""
    return "test" if (table["split"] == "test").any() else "valid"


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
        AnnotationError: an image is not the one that was validated.
    """
    images = np.empty((len(table), image_size, image_size, 3), np.uint8)
    rows = zip(table["image"], table["image_sha256"], strict=True)
    for index, (name, digest) in enumerate(rows):
        data = read_validated(root, name, digest)
        images[index] = resize_crop(decode_crop(data), image_size)
    targets = torch.tensor([mapping[label] for label in table["label"]])
    return Crops(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        targets=targets.to(torch.int64),
        names=tuple(table["image"]),
    )


def load_drawn(
    table: pd.DataFrame, mapping: Mapping[str, int], image_size: int
) -> Crops:
    """Decodes drawn crops.

    Args:
        table: rows of `label` and `png`, the file's bytes.
        mapping: label to class index.
        image_size: side of the square that each crop is stretched to, px.
    """
    images = np.empty((len(table), image_size, image_size, 3), np.uint8)
    for index, data in enumerate(table["png"]):
        images[index] = resize_crop(decode_crop(data), image_size)
    targets = [mapping[label] for label in table["label"]]
    return Crops(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        targets=torch.tensor(targets, dtype=torch.int64),
        names=tuple(f"drawn {index}" for index in range(len(table))),
    )


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
