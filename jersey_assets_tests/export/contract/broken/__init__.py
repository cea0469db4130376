"""Ways to break a model, by the promise that breaks."""

from jersey_assets_tests.export.contract.broken import (
    batches,
    files,
    labels,
    scores,
    tricks,
    weights,
)
from jersey_assets_tests.export.contract.broken.surgery import BROKEN, Broken

__all__ = [
    "BROKEN",
    "Broken",
    "batches",
    "files",
    "labels",
    "scores",
    "tricks",
    "weights",
]
