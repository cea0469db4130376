"""The deployed predictor: reads labels on crops with one model file.

It needs only onnxruntime, numpy and Pillow, and takes labels and preprocessing from the
model's own metadata. Crops are decoded and resized by the functions that training used,
so that a deployed model sees the same pixels as in validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jersey_assets.crops.decode import ImageError, decode_crop
from jersey_assets.crops.prepare import normalize_crops, resize_crop
from jersey_assets.files import read_regular
from jersey_assets.reader.file_metadata import ModelError, read_metadata
from jersey_assets.reader.session import open_session, short_message

_BATCH = 32
_MAX_MODEL_BYTES = 2**31 - 1  # protobuf's limit
_MAX_IMAGE_BYTES = 2**28


@dataclass(frozen=True)
class Prediction:
    """What the model reads on one image.

    Attributes:
        image: the image's path.
        label: the most likely label; `""` = no readable number.
        confidence: its softmax probability, 0..1.
    """

    image: Path
    label: str
    confidence: float


@dataclass(frozen=True)
class Unread:
    """An image that could not be read.

    Attributes:
        image: the image's path.
        reason: what is wrong with it.
    """

    image: Path
    reason: str


class Predictor:
    """Reads labels on images with one model file."""

    def __init__(self, model: Path) -> None:
        """Loads the model.

        Raises:
            ModelError: the file is not a model of this project.
        """
        try:
            self._session = open_session(read_regular(model, _MAX_MODEL_BYTES))
            self.metadata = read_metadata(_properties(self._session))
        except OSError as error:
            raise ModelError(f"{model}: {error.strerror}") from error
        except ModelError as error:
            raise ModelError(f"{model}: {error}") from error

    def predict(self, images: Sequence[Path]) -> Iterator[Prediction | Unread]:
        """Reads each image's label, in the given order; a bad image does not stop it.

        Raises:
            ModelError: the model gives no usable scores.
        """
        for start in range(0, len(images), _BATCH):
            paths = images[start : start + _BATCH]
            found = [self._read_crop(path) for path in paths]
            crops = [crop for crop in found if not isinstance(crop, Unread)]
            rows = iter(softmax(self.logits(np.stack(crops)))) if crops else iter(())
            for path, crop in zip(paths, found, strict=True):
                yield (
                    crop if isinstance(crop, Unread) else self._answer(path, next(rows))
                )

    def _answer(self, image: Path, probabilities: NDArray[np.float64]) -> Prediction:
        best = int(probabilities.argmax())
        label = self.metadata.labels[best]
        return Prediction(image, label, float(probabilities[best]))

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Scores crops, uint8 [n, S, S, 3], as float32 [n, classes].

        Raises:
            ModelError: the model cannot be run, or its scores are not finite or not
                one per label.
        """
        inputs = normalize_crops(crops, self.metadata.mean, self.metadata.std)
        try:
            logits = np.asarray(self._session.run(["logits"], {"input": inputs})[0])
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime has a dozen unrelated error types
            raise ModelError(
                f"the model cannot be run: {short_message(error)}"
            ) from error
        expected = (len(crops), len(self.metadata.labels))
        if logits.dtype != np.float32:
            raise ModelError(f"the model gives {logits.dtype}; expected float32 scores")
        if logits.shape != expected or not np.isfinite(logits).all():
            raise ModelError(
                f"the model gives scores of shape {logits.shape}, finite: "
                f"{bool(np.isfinite(logits).all())}; expected finite ones, {expected}"
            )
        scores: NDArray[np.float32] = logits
        return scores

    def _read_crop(self, path: Path) -> NDArray[np.uint8] | Unread:
        try:
            image = decode_crop(read_regular(path, _MAX_IMAGE_BYTES))
        except OSError as error:
            return Unread(path, error.strerror or "cannot be read")
        except ImageError as error:
            return Unread(path, str(error))
        return resize_crop(image, self.metadata.image_size)


def _properties(session: Any) -> dict[str, str]:
    try:
        properties: dict[str, str] = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ModelError("the model's metadata is not UTF-8") from error
    return properties


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Turns logits [n, classes] into probabilities, each row summing to 1."""
    scores = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
    return probabilities
