"""Parity: the same crops through PyTorch and onnxruntime, and how far apart they are.

`compare` measures and `verdicts` judges, so that the report of an old run can be judged
again. Everything is computed in double precision from float32 logits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from jersey_assets.export.metadata import ExportError
from jersey_assets.export.numbers import (
    ROUNDING_REASON,
    Numbers,
    largest_error,
    rounding_tolerance,
)
from jersey_assets.training.crops import normalize
from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint
    from jersey_assets.training.crops import Crops

BATCH_SIZES = (1, 2, 3, 8, 17, 32)
# Crops that each batch size is tried on, and that float64 is computed for.
_SAMPLE = 96
_LISTED_DISAGREEMENTS = 50
Scorer = Callable[[NDArray[np.float32]], Numbers]


def compare(model: Path, checkpoint: Checkpoint, crops: Crops) -> dict[str, Any]:
    """Measures how far the model is from its checkpoint on real crops.

    Args:
        model: the ONNX file, one that keeps the contract.
        checkpoint: what it was exported from.
        crops: of the evaluation split, at least one.

    Returns:
        The parity report, JSON values only; numbers that are not finite are null.

    Raises:
        ExportError: the model cannot be run, or there are no crops.
    """
    if not len(crops):
        raise ExportError("no crops to compare on: the evaluation split is empty")
    data = model.read_bytes()
    session = open_session(data, model)
    inputs = normalize(crops.images, checkpoint.mean, checkpoint.std).numpy()
    network = checkpoint.build_model()
    torch_logits = _in_batches(torch_scorer(network), inputs, BATCH_SIZES[-1])
    onnx_logits = _in_batches(onnx_scorer(session), inputs, BATCH_SIZES[-1])
    if onnx_logits.shape != torch_logits.shape:
        raise ExportError(
            f"{model}: scores of shape {onnx_logits.shape}; "
            f"expected {torch_logits.shape}"
        )
    sample = slice(0, min(len(inputs), _SAMPLE))
    tolerance = _tolerance(network, inputs[sample], torch_logits[sample])
    report = {
        "images": len(crops),
        **_distance(onnx_logits, torch_logits),
        **_accuracy(onnx_logits, torch_logits, crops.targets.numpy()),
        "disagreements": _disagreements(onnx_logits, torch_logits, crops, checkpoint),
        "batch_sizes": [size for size in BATCH_SIZES if size <= len(inputs)],
        "per_batch_size": _per_batch_size(
            session, inputs[sample], torch_logits[sample], onnx_logits[sample]
        ),
        "tolerance": _json_number(tolerance),
        "tolerance_reason": ROUNDING_REASON,
        "dtype": "float32",
        "providers": session.get_providers(),
        "opset": _opset(data),
        "model_sha256": hashlib.sha256(data).hexdigest(),
        "checkpoint_sha256": checkpoint.sha256,
    }
    report["passed"] = all(verdict.passed for verdict in verdicts(report))
    return report


def verdicts(report: Mapping[str, Any]) -> list[Verdict]:
    """Judges a report: logits_within_tolerance, top1_agrees, batch_independent."""
    return [_judge_logits(report), _judge_top1(report), _judge_batches(report)]


def open_session(data: bytes, model: Path, *, optimized: bool = True) -> Any:
    """Loads a model in onnxruntime on the CPU.

    Raises:
        ExportError: onnxruntime refuses it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen unrelated error types
        raise ExportError(f"{model}: onnxruntime refuses it: {error}") from error


def onnx_scorer(session: Any) -> Scorer:
    """Logits of float32 [n, 3, S, S] from onnxruntime."""
    return lambda batch: session.run(["logits"], {"input": batch})[0]


def torch_scorer(network: torch.nn.Module) -> Scorer:
    """Logits of float32 [n, 3, S, S] from PyTorch."""

    def score(batch: NDArray[np.float32]) -> Numbers:
        with torch.inference_mode():
            logits: Numbers = network(torch.from_numpy(batch)).numpy()
        return logits

    return score


def _in_batches(score: Scorer, inputs: NDArray[np.float32], size: int) -> Numbers:
    parts = [score(inputs[i : i + size]) for i in range(0, len(inputs), size)]
    return np.concatenate(parts).astype(np.float64)


def _tolerance(
    network: torch.nn.Module, inputs: NDArray[np.float32], single: Numbers
) -> float:
    network.double()
    double = _in_batches(
        lambda batch: torch_scorer(network)(batch.astype(np.float64)),
        inputs,
        BATCH_SIZES[-1],
    )
    network.float()
    return rounding_tolerance(single, double)


def _distance(answer: Numbers, reference: Numbers) -> dict[str, float | None]:
    """Absolute and relative error and cosine between logits [n, classes]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = np.abs(answer - reference)
        scale = np.abs(reference).max(axis=1)
        relative = difference.max(axis=1) / np.where(scale > 0, scale, 1.0)
        norms = np.linalg.norm(answer, axis=1) * np.linalg.norm(reference, axis=1)
        cosine = (answer * reference).sum(axis=1) / np.where(norms > 0, norms, 1.0)
    return {
        "max_abs_error": _json_number(difference.max()),
        "mean_abs_error": _json_number(difference.mean()),
        "max_relative_error": _json_number(relative.max()),
        "cosine_min": _json_number(cosine.min()),
    }


def _accuracy(
    answer: Numbers, reference: Numbers, targets: NDArray[np.int64]
) -> dict[str, float]:
    onnx_top1, torch_top1 = _top1(answer), _top1(reference)
    return {
        "top1_agreement": float(((onnx_top1 == torch_top1) & (onnx_top1 >= 0)).mean()),
        "torch_top1": float((torch_top1 == targets).mean()),
        "onnx_top1": float((onnx_top1 == targets).mean()),
    }


def _top1(logits: Numbers) -> NDArray[np.int64]:
    """The best class of each row; -1 where the row is not finite."""
    best = np.nan_to_num(logits, nan=-np.inf).argmax(axis=1)
    return np.where(np.isfinite(logits).all(axis=1), best, -1)


def _disagreements(
    answer: Numbers, reference: Numbers, crops: Crops, checkpoint: Checkpoint
) -> list[dict[str, Any]]:
    """Crops with two top-1 answers, and by what margin PyTorch preferred its own."""
    onnx_top1, torch_top1 = _top1(answer), _top1(reference)
    found = []
    rows = np.flatnonzero((onnx_top1 != torch_top1) | (onnx_top1 < 0))
    for row in rows[:_LISTED_DISAGREEMENTS]:
        ours, theirs = int(onnx_top1[row]), int(torch_top1[row])
        comparable = ours >= 0 and theirs >= 0
        margin = reference[row, theirs] - reference[row, ours] if comparable else np.nan
        found.append(
            {
                "image": crops.names[row],
                "onnx": checkpoint.labels[ours] if ours >= 0 else None,
                "torch": checkpoint.labels[theirs] if theirs >= 0 else None,
                "margin": _json_number(margin),
            }
        )
    return found


def _per_batch_size(
    session: Any, inputs: NDArray[np.float32], reference: Numbers, usual: Numbers
) -> list[dict[str, Any]]:
    """Distance to PyTorch, and to onnxruntime's own rows in its usual batches."""
    rows = []
    for size in BATCH_SIZES:
        if size > len(inputs):
            break
        answer = _in_batches(onnx_scorer(session), inputs, size)
        agreement = (_top1(answer) == _top1(reference)) & (_top1(answer) >= 0)
        rows.append(
            {
                "batch_size": size,
                "images": len(inputs),
                **_distance(answer, reference),
                "top1_agreement": float(agreement.mean()),
                "max_change": _json_number(largest_error(answer, usual)),
            }
        )
    return rows


def _opset(data: bytes) -> int:
    import onnx

    versions = {o.domain: o.version for o in onnx.load_from_string(data).opset_import}
    return int(versions.get("", versions.get("ai.onnx", 0)))


def _json_number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _at_most(values: Iterable[float | None], limit: float | None) -> bool:
    """Whether all are numbers within the limit; a null is neither."""
    return limit is not None and all(v is not None and v <= limit for v in values)


def _judge_logits(report: Mapping[str, Any]) -> Verdict:
    tolerance = report["tolerance"]
    errors = [report["max_abs_error"]]
    errors += [row["max_abs_error"] for row in report["per_batch_size"]]
    worst = None if None in errors else max(errors)
    return Verdict(
        "logits_within_tolerance",
        passed=_at_most(errors, tolerance),
        message=f"largest error {_say(worst)} over {report['images']} crops; allowed "
        f"is {_say(tolerance)}: {report['tolerance_reason']}",
        facts={"max_abs_error": worst, "tolerance": tolerance},
    )


def _judge_top1(report: Mapping[str, Any]) -> Verdict:
    """A tie within twice the tolerance can fall either way, and is no disagreement."""
    tolerance, found = report["tolerance"], report["disagreements"]
    tie = None if tolerance is None else 2 * tolerance
    agreements = [row["top1_agreement"] for row in report["per_batch_size"]]
    message = (
        f"top-1 agrees on {report['top1_agreement']:.2%} of {report['images']} crops; "
        f"accuracy {report['onnx_top1']:.2%} in onnxruntime, "
        f"{report['torch_top1']:.2%} in PyTorch"
    )
    for case in found[:3]:
        message += (
            f"; {case['image']}: {case['onnx']!r} instead of {case['torch']!r}, "
            f"margin {_say(case['margin'])}"
        )
    listed = len(found) < _LISTED_DISAGREEMENTS
    ties = listed and _at_most((case["margin"] for case in found), tie)
    return Verdict(
        "top1_agrees",
        passed=ties and (bool(found) or all(share == 1 for share in agreements)),
        message=message,
        facts={"top1_agreement": report["top1_agreement"], "disagreements": len(found)},
    )


def _judge_batches(report: Mapping[str, Any]) -> Verdict:
    tolerance = report["tolerance"]
    changes = {row["batch_size"]: row["max_change"] for row in report["per_batch_size"]}
    worst = None if None in changes.values() else max(changes.values())
    return Verdict(
        "batch_independent",
        passed=_at_most(changes.values(), tolerance),
        message=f"rows change by at most {_say(worst)} between batches of "
        f"{', '.join(map(str, changes))}; allowed is {_say(tolerance)}",
        facts={"max_change": worst, "tolerance": tolerance},
    )


def _say(number: float | None) -> str:
    return "not a number" if number is None else f"{number:.3g}"
