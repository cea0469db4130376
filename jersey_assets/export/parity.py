"""Parity: the same crops through PyTorch and onnxruntime, and how far apart they are.

`compare` measures and `verdicts` judges, so that the report of an old run can be judged
again. Everything is computed in double precision from float32 logits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from jersey_assets.export.latency import measure_latency
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
from jersey_assets.storage.manifest import canonical_json
from jersey_assets.text import count
from jersey_assets.training.data.crops import normalize
from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint
    from jersey_assets.training.data.crops import Crops

BATCH_SIZES = (1, 2, 3, 8, 17, 32)
_USUAL_BATCH = BATCH_SIZES[-1]
# Crops that each batch size is tried on.
_SAMPLE = 96
# Crops that are computed in float64, ten times slower, to see what rounding does.
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


def write_parity(
    model: Path, checkpoint: Checkpoint, crops: Crops, folder: Path
) -> dict[str, Any]:
    """Writes `report.json`, its figures and `report.html`; gives the report.

    Raises:
        ModelError: as `compare`.
    """
    from jersey_assets.export.report import write_html
    from jersey_assets.plots.png import draw_png
    from jersey_assets.plots.runtimes import (
        error_histogram,
        latency_curves,
        logits_scatter,
    )

    found = compare(model, checkpoint, crops)
    latency = measure_latency(model.read_bytes(), checkpoint)
    report = {**found.report, "latency": latency}
    (folder / "report.json").write_bytes(canonical_json(report))
    if np.isfinite(found.onnx_logits).all() and np.isfinite(found.torch_logits).all():
        errors = np.abs(found.onnx_logits - found.torch_logits)
        draw_png(folder / "errors.png", error_histogram, errors)
        logits = found.torch_logits, found.onnx_logits
        draw_png(folder / "logits.png", logits_scatter, *logits)
    draw_png(folder / "latency.png", latency_curves, latency)
    write_html(report, verdicts(report), crops, folder)
    return report


def compare(model: Path, checkpoint: Checkpoint, crops: Crops) -> Comparison:
    """Measures how far the model is from its checkpoint on real crops.

    Args:
        model: the ONNX file, one that keeps the contract.
        checkpoint: what it was exported from.
        crops: of the evaluation split, at least one.

    Returns:
        The report, JSON values only, numbers that are not finite as null; and the
        logits that it was made from.

    Raises:
        ModelError: the model cannot be run, or there are no crops.
    """
    if not len(crops):
        raise ModelError("no crops to compare on: the evaluation split is empty")
    data = model.read_bytes()
    session, network = open_session(data), checkpoint.build_model()
    score = _on_crops(onnx_scorer(session), checkpoint)
    score_torch = _on_crops(torch_scorer(network), checkpoint)
    torch_logits = in_batches(score_torch, crops.images, _USUAL_BATCH)
    onnx_logits = in_batches(score, crops.images, _USUAL_BATCH)
    if onnx_logits.shape != torch_logits.shape:
        raise ModelError(
            f"{model}: scores of shape {onnx_logits.shape}; "
            f"expected {torch_logits.shape}"
        )
    sample = slice(0, _SAMPLE)
    some, some_torch = crops.images[sample], torch_logits[sample]
    tolerance = _tolerance(network, _inputs(crops.images[:_DOUBLE_SAMPLE], checkpoint))
    plain = open_session(data, optimized=False)
    report: dict[str, Any] = {
        "images": len(crops),
        **distance(onnx_logits, torch_logits),
        **_accuracy(onnx_logits, torch_logits, crops.targets.numpy()),
        "disagreements": _disagreements(onnx_logits, torch_logits, crops, checkpoint),
        "batch_sizes": [size for size in BATCH_SIZES if size <= len(crops)],
        "per_batch_size": _per_batch_size(score, some, some_torch, onnx_logits[sample]),
        "per_optimization": [
            _compared("on", onnx_logits[sample], some_torch),
            _compared("off", _scored(plain, some, checkpoint), some_torch),
        ],
        "probes": _probes(onnx_scorer(session), network, checkpoint, crops),
        "tolerance": json_number(tolerance),
        "tolerance_reason": ROUNDING_REASON,
        "dtype": "float32",
        "providers": session.get_providers(),
        "versions": {"onnxruntime": ort.__version__, "PyTorch": torch.__version__},
        "metadata": session.get_modelmeta().custom_metadata_map,
        "opset": _opset(data),
        "model_sha256": hashlib.sha256(data).hexdigest(),
        "checkpoint_sha256": checkpoint.sha256,
    }
    report["max_abs_error"] = _largest_error(report)
    report["passed"] = all(verdict.passed for verdict in verdicts(report))
    return Comparison(report, torch_logits, onnx_logits)


def verdicts(report: Mapping[str, Any]) -> list[Verdict]:
    """Judges a report: logits_within_tolerance, top1_agrees, batch_independent."""
    return [_judge_logits(report), _judge_top1(report), _judge_batches(report)]


# What is measured


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


def _per_batch_size(
    score: CropScorer, images: torch.Tensor, reference: Numbers, usual: Numbers
) -> list[dict[str, Any]]:
    """Distance to PyTorch, and to onnxruntime's own rows in its usual batches."""
    rows = []
    for size in BATCH_SIZES:
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


def _scored(session: Any, images: torch.Tensor, checkpoint: Checkpoint) -> Numbers:
    return in_batches(_on_crops(onnx_scorer(session), checkpoint), images, _USUAL_BATCH)


def _tolerance(network: torch.nn.Module, inputs: Inputs) -> float:
    single = in_batches(torch_scorer(network), inputs, _USUAL_BATCH)
    double = in_batches(torch_scorer(network, double=True), inputs, _USUAL_BATCH)
    return rounding_tolerance(single, double)


def _probes(
    score: Scorer, network: torch.nn.Module, checkpoint: Checkpoint, crops: Crops
) -> list[dict[str, Any]]:
    """Distance on unusual inputs, each kind with a tolerance of its own."""
    rows = []
    for kind, images in _unusual_images(crops).items():
        inputs = _inputs(images, checkpoint)
        if kind == _STRIDED:
            # The values must count, not their order in memory.
            inputs = np.ascontiguousarray(inputs.transpose(0, 3, 2, 1))
            inputs = inputs.transpose(0, 3, 2, 1)
        answer = in_batches(score, inputs, _USUAL_BATCH)
        reference = in_batches(torch_scorer(network), inputs, _USUAL_BATCH)
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


def _opset(data: bytes) -> int:
    versions = {o.domain: o.version for o in onnx.load_from_string(data).opset_import}
    return int(versions.get("", 0))


# What is judged


def _judge_logits(report: Mapping[str, Any]) -> Verdict:
    tolerance, largest = report["tolerance"], _largest_error(report)
    strange = [
        row
        for row in report["probes"]
        if not _at_most([row["max_abs_error"]], row["tolerance"])
    ]
    message = (
        f"largest error {_say(largest)} over {count(report['images'], 'crop')}, every "
        "batch size, and graph optimizations on and off; allowed is "
        f"{_say(tolerance)}, {report['tolerance_reason']}"
    )
    for row in strange:
        message += (
            f"; on {row['kind']} it is {_say(row['max_abs_error'])}, allowed "
            f"{_say(row['tolerance'])}"
        )
    return Verdict(
        "logits_within_tolerance",
        passed=_at_most([largest], tolerance) and not strange,
        message=message,
        facts={"max_abs_error": largest, "tolerance": tolerance},
    )


def _largest_error(report: Mapping[str, Any]) -> float | None:
    """Over all crops, every batch size, and graph optimizations on and off."""
    compared = (*report["per_batch_size"], *report["per_optimization"])
    return _worst([row["max_abs_error"] for row in (report, *compared)])


def _judge_top1(report: Mapping[str, Any]) -> Verdict:
    """A tie within twice the tolerance can fall either way, and is no disagreement."""
    tolerance, found = report["tolerance"], report["disagreements"]
    message = (
        f"top-1 agrees on {report['top1_agreement']:.2%} of "
        f"{count(report['images'], 'crop')}; "
        f"accuracy {report['onnx_top1']:.2%} in onnxruntime, "
        f"{report['torch_top1']:.2%} in PyTorch"
    )
    for case in found[:3]:
        message += (
            f"; {case['image']}: {case['onnx']!r} instead of {case['torch']!r}, "
            f"margin {_say(case['margin'])}"
        )
    tie = None if tolerance is None else 2 * tolerance
    ties = _at_most((case["margin"] for case in found), tie)
    return Verdict(
        "top1_agrees",
        passed=ties,
        message=message,
        facts={"top1_agreement": report["top1_agreement"], "disagreements": len(found)},
    )


def _judge_batches(report: Mapping[str, Any]) -> Verdict:
    tolerance = report["tolerance"]
    changes = [row["max_change"] for row in report["per_batch_size"]]
    sizes = ", ".join(str(row["batch_size"]) for row in report["per_batch_size"])
    return Verdict(
        "batch_independent",
        passed=_at_most(changes, tolerance),
        message=f"rows change by at most {_say(_worst(changes))} between batches of "
        f"{sizes}; allowed is {_say(tolerance)}",
        facts={"max_change": _worst(changes), "tolerance": tolerance},
    )


def _at_most(values: Iterable[float | None], limit: float | None) -> bool:
    """Whether all are numbers within the limit; a null is neither."""
    return limit is not None and all(v is not None and v <= limit for v in values)


def _worst(values: list[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return max(numbers) if numbers and len(numbers) == len(values) else None


def _say(number: float | None) -> str:
    return "not a number" if number is None else f"{number:.3g}"
