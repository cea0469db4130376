"""Evaluates a checkpoint on a split: top-1, per class, mistakes, pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.data.crops import Crops, normalize
from jersey_assets.training.network.gradcam import grad_cam

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCH_SIZE = 256
MAX_SHOWN = 32
MAX_EXPLAINED = 12


@dataclass(frozen=True)
class Evaluation:
    """The scores of a split's crops.

    Attributes:
        split: the split's name.
        labels: the labels, in class order.
        names: the crops' image paths.
        logits: float32 [n, classes].
        targets: int64 [n].
        ema_step: optimizer steps that the evaluated weights have seen.
    """

    split: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    logits: Tensor
    targets: Tensor
    ema_step: int

    @property
    def top1(self) -> float:
        """Share of the crops whose best class is the true one."""
        return self._top(1)

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return float(F.cross_entropy(self.logits, self.targets))

    def confusion(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Counts of crops: int64 [classes, classes], rows are the true classes."""
        size = len(self.labels)
        cells = self.targets * size + self.logits.argmax(1)
        return cells.bincount(minlength=size * size).view(size, size).numpy()

    def report(self) -> dict[str, Any]:
        """The content of `report.json`."""
        confusion = self.confusion()
        counts, right = confusion.sum(1), confusion.diagonal()
        return {
            "split": self.split,
            "images": len(self.names),
            "top1": self.top1,
            "top5": self._top(5),
            "loss": self.loss,
            "num_classes": len(self.labels),
            "ema_step": self.ema_step,
            "per_class": {
                label: {"images": int(n), "top1": float(hits / n) if n else None}
                for label, n, hits in zip(self.labels, counts, right, strict=True)
            },
            "mistakes": self._mistakes(),
        }

    def samples(self, count: int) -> Tensor:
        """Indices of crops to show, the lowest probability of the true class first.

        Two thirds are the worst of all; the others are spread over the rest, up to
        the most confident one.
        """
        right = self.logits.softmax(1).gather(1, self.targets[:, None]).flatten()
        order = right.argsort(stable=True)
        worst, rest = order.tensor_split([min(2 * count // 3, len(order))])
        spread = torch.linspace(0, len(rest) - 1, min(count - len(worst), len(rest)))
        return torch.cat([worst, rest[spread.round().long()]])

    def _mistakes(self) -> list[dict[str, Any]]:
        """The crops that are read wrong, the most confident mistakes first."""
        confidence, best = self.logits.softmax(1).max(1)
        wrong = (best != self.targets).nonzero().flatten()
        wrong = wrong[confidence[wrong].argsort(descending=True, stable=True)]
        return [
            {
                "image": self.names[index],
                "label": self.labels[int(self.targets[index])],
                "predicted": self.labels[int(best[index])],
                "confidence": round(float(confidence[index]), 4),
            }
            for index in wrong.tolist()
        ]

    def _top(self, k: int) -> float:
        best = self.logits.topk(min(k, len(self.labels))).indices
        return float((best == self.targets[:, None]).any(1).float().mean())


def evaluate(
    checkpoint: Checkpoint, split: str, crops: Crops, *, raw: bool = False
) -> Evaluation:
    """Runs the checkpoint's averaged weights over a split's crops.

    Args:
        checkpoint: what to evaluate.
        split: the split's name.
        crops: its crops, at the checkpoint's image size.
        raw: take the weights before averaging instead.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = checkpoint.build_model(raw=raw).to(device)
    model = model.to(memory_format=torch.channels_last)
    logits = []
    with torch.inference_mode():
        for batch in torch.split(crops.images, BATCH_SIZE):
            inputs = normalize(batch.to(device), checkpoint.mean, checkpoint.std)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            logits.append(model(inputs).float().cpu())
    return Evaluation(
        split=split,
        labels=checkpoint.labels,
        names=crops.names,
        logits=torch.cat(logits),
        targets=crops.targets,
        ema_step=checkpoint.ema_step,
    )


def write_evaluation(
    evaluation: Evaluation, checkpoint: Checkpoint, crops: Crops, folder: Path
) -> None:
    """Writes `report.json` and its pictures.

    Args:
        evaluation: the scores.
        checkpoint: what was evaluated.
        crops: the crops that were scored.
        folder: where the files go.
    """
    from jersey_assets.plots.accuracy import confusion_matrix, per_class_accuracy
    from jersey_assets.plots.grids import prediction_grid
    from jersey_assets.plots.png import draw_png

    report = evaluation.report()
    (folder / "report.json").write_text(
        json.dumps(report, indent=1, ensure_ascii=False), "utf-8"
    )
    confusion = evaluation.confusion()
    counts = confusion.sum(1)
    accuracies = confusion.diagonal() / np.maximum(counts, 1)
    labels = evaluation.labels
    draw_png(
        folder / "confusion.png",
        confusion_matrix,
        labels,
        confusion,
        evaluation.split,
    )
    draw_png(folder / "per_class.png", per_class_accuracy, labels, accuracies, counts)
    shown = _predictions(evaluation, crops, evaluation.samples(MAX_SHOWN))
    draw_png(folder / "predictions.png", prediction_grid, **shown)
    draw_png(folder / "grad_cam.png", _draw_grad_cam, evaluation, checkpoint, crops)


def _predictions(evaluation: Evaluation, crops: Crops, shown: Tensor) -> dict[str, Any]:
    """What a picture of predictions needs of some crops."""
    confidence, best = evaluation.logits[shown].softmax(1).max(1)
    labels = np.array(evaluation.labels)
    return {
        "images": crops.images[shown].permute(0, 2, 3, 1).numpy(),
        "true_labels": labels[evaluation.targets[shown]].tolist(),
        "predicted_labels": labels[best].tolist(),
        "confidences": confidence.tolist(),
    }


def _draw_grad_cam(
    evaluation: Evaluation, checkpoint: Checkpoint, crops: Crops
) -> Figure:
    from jersey_assets.plots.grids import grad_cam_grid

    shown = evaluation.samples(MAX_EXPLAINED)
    inputs = normalize(crops.images[shown], checkpoint.mean, checkpoint.std)
    maps = grad_cam(checkpoint.build_model(), inputs)
    return grad_cam_grid(maps=maps.numpy(), **_predictions(evaluation, crops, shown))
