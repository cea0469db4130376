"""Compares PyTorch and onnxruntime on the same crops: errors, top-1, batches, probes.

Everything is computed in double precision from float32 logits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from jersey_assets.export import parity_checks
from jersey_assets.export.batch_sizes import PARITY, USUAL
from jersey_assets.export.runtimes import (
    Scorer,
    in_batches,
    onnx_scorer,
    torch_scorer,
)
from jersey_assets.export.tolerance import (
    ROUNDING_REASON,
    Numbers,
    agreement,
    distance,
    json_number,
    largest_error,
    rounding_tolerance,
    top1,
)
from jersey_assets.reader.file_metadata import ModelError
from jersey_assets.reader.session import open_session
from jersey_assets.training.data.crops import normalize

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint
    from jersey_assets.training.data.crops import Crops

# Crops that each batch size is tried on.
_SAMPLE = 96
# Crops that are computed in float64, ten times slower, to measure rounding.
_DOUBLE_SAMPLE = 32
_PROBES_OF_A_KIND = 4
_STRIDED = "crops, a transposed view of other strides"
Inputs = NDArray[np.float32]
# From crops, uint8 [n, 3, S, S], to logits [n, classes].
CropScorer = Callable[[torch.Tensor], Numbers]


@dataclass(frozen=True)
class Comparison:
    """A parity report and the logits behind it, float64 [images, classes]."""

    report: dict[str, Any]
    torch_logits: Numbers
    onnx_logits: Numbers


def compare(model: Path, checkpoint: Checkpoint, crops: Crops) -> Comparison:
    """Measures how much the model differs from its checkpoint on real crops.

    Args:
        model: the ONNX file, which keeps the contract.
        checkpoint: what it was exported from.
        crops: of the evaluation split, at least one.

    Returns:
        The report, JSON values only, numbers that are not finite as null; and the
        logits that it was made from.

    Raises:
        ModelError: the model cannot be run, or there are no crops.
    """
    if not len(crops):
        raise ModelError("there are no crops to compare: the evaluation split is empty")
    data = model.read_bytes()
    session, network = open_session(data), checkpoint.build_model()
    plain = _on_crops(onnx_scorer(open_session(data, optimized=False)), checkpoint)
    score = _on_crops(onnx_scorer(session), checkpoint)
    score_torch = _on_crops(torch_scorer(network), checkpoint)
    torch_logits = in_batches(score_torch, crops.images, USUAL)
    onnx_logits = in_batches(score, crops.images, USUAL)
    if onnx_logits.shape != torch_logits.shape:
        raise ModelError(
            f"{model}: the scores have shape {onnx_logits.shape}; "
            f"expected {torch_logits.shape}"
        )
    tolerance = _tolerance(network, _inputs(crops.images[:_DOUBLE_SAMPLE], checkpoint))
    report: dict[str, Any] = {
        "images": len(crops),
        **distance(onnx_logits, torch_logits),
        **_accuracy(onnx_logits, torch_logits, crops.targets.numpy()),
        "disagreements": _disagreements(onnx_logits, torch_logits, crops, checkpoint),
        "batch_sizes": [size for size in PARITY if size <= len(crops)],
        **_variations(score, plain, crops.images, torch_logits, onnx_logits),
        "probes": _probes(onnx_scorer(session), network, checkpoint, crops),
        "tolerance": json_number(tolerance),
        "tolerance_reason": ROUNDING_REASON,
        **_origin(session, data, checkpoint),
    }
    report["max_abs_error"] = parity_checks.largest_error(report)
    report["passed"] = all(v.passed for v in parity_checks.verdicts(report))
    return Comparison(report, torch_logits, onnx_logits)


def _origin(session: Any, data: bytes, checkpoint: Checkpoint) -> dict[str, Any]:
    """What was compared, and with which versions."""
    versions = {o.domain: o.version for o in onnx.load_from_string(data).opset_import}
    return {
        "dtype": "float32",
        "providers": session.get_providers(),
        "versions": {"onnxruntime": ort.__version__, "PyTorch": torch.__version__},
        "metadata": session.get_modelmeta().custom_metadata_map,
        "opset": int(versions.get("", 0)),
        "model_sha256": hashlib.sha256(data).hexdigest(),
        "checkpoint_sha256": checkpoint.sha256,
    }


def _accuracy(
    answer: Numbers, reference: Numbers, targets: NDArray[np.int64]
) -> dict[str, float]:
    return {
        "top1_agreement": agreement(answer, reference),
        "torch_top1": float((top1(reference) == targets).mean()),
        "onnx_top1": float((top1(answer) == targets).mean()),
    }


def _disagreements(
    answer: Numbers, reference: Numbers, crops: Crops, checkpoint: Checkpoint
) -> list[dict[str, Any]]:
    """Crops with two top-1 answers, and by what margin PyTorch preferred its own."""
    onnx_top1, torch_top1 = top1(answer), top1(reference)
    found = []
    rows = np.flatnonzero((onnx_top1 != torch_top1) | (onnx_top1 < 0))
    for row in rows:
        ours, theirs = int(onnx_top1[row]), int(torch_top1[row])
        comparable = ours >= 0 and theirs >= 0
        margin = reference[row, theirs] - reference[row, ours] if comparable else np.nan
        found.append(
            {
                "image": crops.names[row],
                "onnx": checkpoint.labels[ours] if ours >= 0 else None,
                "torch": checkpoint.labels[theirs] if theirs >= 0 else None,
                "margin": json_number(margin),
            }
        )
    return found


def _variations(
    score: CropScorer,
    plain: CropScorer,
    images: torch.Tensor,
    reference: Numbers,
    usual: Numbers,
) -> dict[str, Any]:
    """Compares a sample in other batches, and without graph optimizations."""
    images, reference, usual = images[:_SAMPLE], reference[:_SAMPLE], usual[:_SAMPLE]
    return {
        "per_batch_size": _per_batch_size(score, images, reference, usual),
        "per_optimization": [
            _compared("on", usual, reference),
            _compared("off", in_batches(plain, images, USUAL), reference),
        ],
    }


def _per_batch_size(
    score: CropScorer, images: torch.Tensor, reference: Numbers, usual: Numbers
) -> list[dict[str, Any]]:
    """Distance to PyTorch, and to onnxruntime's own rows in its usual batches."""
    rows = []
    for size in PARITY:
        if size > len(images):
            break
        answer = in_batches(score, images, size)
        rows.append(
            {
                "batch_size": size,
                "images": len(images),
                **distance(answer, reference),
                "top1_agreement": agreement(answer, reference),
                "max_change": json_number(largest_error(answer, usual)),
            }
        )
    return rows


def _compared(switch: str, answer: Numbers, reference: Numbers) -> dict[str, Any]:
    """Distance to PyTorch with onnxruntime's graph optimizations on or off."""
    return {
        "graph_optimizations": switch,
        "images": len(answer),
        **distance(answer, reference),
        "top1_agreement": agreement(answer, reference),
    }


def _tolerance(network: torch.nn.Module, inputs: Inputs) -> float:
    single = in_batches(torch_scorer(network), inputs, USUAL)
    double = in_batches(torch_scorer(network, double=True), inputs, USUAL)
    return rounding_tolerance(single, double)


def _probes(
    score: Scorer, network: torch.nn.Module, checkpoint: Checkpoint, crops: Crops
) -> list[dict[str, Any]]:
    """Distance on unusual inputs, each kind with a tolerance of its own."""
    rows = []
    for kind, images in _unusual_images(crops).items():
        inputs = _inputs(images, checkpoint)
        if kind == _STRIDED:
            # Only the values must matter, not their order in memory.
            inputs = np.ascontiguousarray(inputs.transpose(0, 3, 2, 1))
            inputs = inputs.transpose(0, 3, 2, 1)
        answer = in_batches(score, inputs, USUAL)
        reference = in_batches(torch_scorer(network), inputs, USUAL)
        rows.append(
            {
                "kind": kind,
                "images": len(inputs),
                **distance(answer, reference),
                "tolerance": json_number(_tolerance(network, inputs)),
            }
        )
    return rows


def _unusual_images(crops: Crops) -> dict[str, torch.Tensor]:
    """Images on the 0..255 scale, [n, 3, S, S], by kind."""
    some = crops.images[:_PROBES_OF_A_KIND].float()
    shape = (_PROBES_OF_A_KIND, *some.shape[1:])
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(shape, generator=draw) * 255
    flat = torch.linspace(0, 255, _PROBES_OF_A_KIND).view(-1, 1, 1, 1).expand(shape)
    return {
        _STRIDED: some,
        "noise": noise,
        "black or white at random": (noise > 127).float() * 255,
        "one grey all over, black to white": flat,
        "inverted crops": 255 - some,
        "crops a hundred times too bright": 100 * some,
    }


def _on_crops(score: Scorer, checkpoint: Checkpoint) -> CropScorer:
    """Scores crops as they were decoded, normalized a batch at a time."""
    return lambda images: score(_inputs(images, checkpoint))


def _inputs(images: torch.Tensor, checkpoint: Checkpoint) -> Inputs:
    return normalize(images, checkpoint.mean, checkpoint.std).numpy()
