"""The deployed predictor: a model file and crops in, labels out.

It needs onnxruntime, numpy and Pillow only, and reads labels and preprocessing from
the model's own metadata. Crops are decoded and resized by the functions that training
used, so that a deployed model sees the pixels that it was validated on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from jersey_assets.annotations.images import ImageError, decode_crop, resize_crop
from jersey_assets.export.metadata import ExportError, read_metadata

_BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """What the model reads on one image.

    Attributes:
        image: the image's path.
        label: the likeliest label; `""` = no readable number.
        confidence: its softmax probability, 0..1.
    """

    image: Path
    label: str
    confidence: float


class Predictor:
    """Reads labels on images with one model file."""

    def __init__(self, model: Path) -> None:
        """Loads the model.

        Raises:
            ExportError: the file is not a model of this project.
        """
        if not model.is_file():
            raise ExportError(f"{model}: no such model file")
        try:
            self._session = ort.InferenceSession(
                model, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a dozen unrelated error types
            raise ExportError(f"{model}: onnxruntime refuses it: {error}") from error
        properties = self._session.get_modelmeta().custom_metadata_map
        try:
            self.metadata = read_metadata(properties)
        except ExportError as error:
            raise ExportError(f"{model}: {error}") from error

    def predict(self, images: Sequence[Path]) -> list[Prediction]:
        """Reads each image's label, in the order given.

        Raises:
            ExportError: an image cannot be read, or the model gives no usable scores.
        """
        predictions: list[Prediction] = []
        for start in range(0, len(images), _BATCH):
            paths = images[start : start + _BATCH]
            crops = np.stack([self._read_crop(path) for path in paths])
            probabilities = softmax(self.logits(crops))
            for path, row in zip(paths, probabilities, strict=True):
                best = int(row.argmax())
                label = self.metadata.labels[best]
                predictions.append(Prediction(path, label, float(row[best])))
        return predictions

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Scores crops, uint8 [n, S, S, 3], as float32 [n, classes].

        Raises:
            ExportError: the scores are not finite or not one per label.
        """
        inputs = normalize_crops(crops, self.metadata.mean, self.metadata.std)
        (logits,) = self._session.run(["logits"], {"input": inputs})
        expected = (len(crops), len(self.metadata.labels))
        if logits.shape != expected or not np.isfinite(logits).all():
            raise ExportError(
                f"the model gives scores of shape {logits.shape}, finite: "
                f"{bool(np.isfinite(logits).all())}; expected finite ones, {expected}"
            )
        scores: NDArray[np.float32] = logits
        return scores

    def _read_crop(self, path: Path) -> NDArray[np.uint8]:
        try:
            image = decode_crop(path.read_bytes())
        except OSError as error:
            raise ExportError(f"{path}: {error.strerror}") from error
        except ImageError as error:
            raise ExportError(f"{path}: {error}") from error
        return resize_crop(image, self.metadata.image_size)


def normalize_crops(
    crops: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Turns crops, uint8 [n, S, S, 3], into network input, float32 [n, 3, S, S].

    The arithmetic is training's, operation by operation, so the bits are equal.
    """
    shift = np.asarray(mean, np.float32) * np.float32(255)
    scale = np.asarray(std, np.float32) * np.float32(255)
    inputs = (crops.astype(np.float32) - shift) / scale
    return np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Turns logits [n, classes] into probabilities, each row summing to 1."""
    scores = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
    return probabilities
