"""TrainingData: labels, train and valid crops, and their normalization."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from jersey_assets.storage.manifest import canonical_json
from jersey_assets.training.data.crops import Crops


@dataclass(frozen=True)
class TrainingData:
    """The data of one training.

    Attributes:
        labels: the labels, in class order.
        train: crops to learn from.
        valid: crops to choose the epoch by, of the same size.
        mean: channel means that inputs are normalized with, on the 0..1 scale.
        std: channel standard deviations, likewise.
    """

    labels: tuple[str, ...]
    train: Crops
    valid: Crops
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def image_size(self) -> int:
        """Side of the square crops, px."""
        return self.train.images.shape[-1]

    def digest(self) -> str:
        """Digest of all data that a training sees: sha256, hex."""
        normalization = [list(self.mean), list(self.std)]
        made = hashlib.sha256(canonical_json([list(self.labels), normalization]))
        for crops in (self.train, self.valid):
            made.update(f"{tuple(crops.images.shape)}".encode())
            for tensor in (crops.images, crops.targets):
                made.update(tensor.contiguous().numpy().data)
        return made.hexdigest()
