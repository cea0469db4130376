"""The contract that a model file keeps, checked by what it does.

`sandbox.py` opens the file in a child process and notes what it answers; here the
answers are judged. A graph can say `batch` and be fixed at 1 inside, call softmax
probabilities `logits`, or hold the weights before averaging: names are not believed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jersey_assets.export.metadata import (
    ExportError,
    ModelMetadata,
    describe,
    mapping_of,
    missing_provenance,
    read_metadata,
)
from jersey_assets.export.numbers import (
    RELATIVE_ROUNDING,
    largest_error,
    rounding_tolerance,
    within,
)
from jersey_assets.export.probe import BATCH_SIZES, NAN_ROWS, ROWS
from jersey_assets.export.sandbox import Limits, Observation, observe
from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint

_DEFAULT_SIZE = 64
# The last layer of an int8 model may stay in float; a small network has little else.
_INT8_SHARE = 0.5
_MAX_SIDECAR_BYTES = 2**20
Numbers = NDArray[Any]


def check_model(
    model: Path,
    checkpoint: Checkpoint | None = None,
    labels: Mapping[str, int] | None = None,
    limits: Limits | None = None,
) -> list[Verdict]:
    """Checks every promise about a model file; the file may be hostile.

    Args:
        model: the ONNX file; a `labels_mapping.json` beside it is checked too.
        checkpoint: what it was exported from, where known.
        labels: label to class index, as the graph's `class_mapping` says, where known.
        limits: time and memory that opening it may take.

    Returns:
        graph_is_valid, output_is_logits, batch_axis_is_dynamic, with a checkpoint
        weights_match_checkpoint, and labels_match_class_mapping.
    """
    size = checkpoint.image_size if checkpoint else _DEFAULT_SIZE
    seen = observe(model, size, limits or Limits())
    scores = _reference_scores(checkpoint, seen)
    verdicts = [
        _judge("graph_is_valid", _graph_faults(seen), partial(_graph_praise, seen)),
        _judge(
            "output_is_logits",
            _logits_faults(seen, scores),
            partial(_logits_praise, seen),
        ),
        _judge("batch_axis_is_dynamic", _batch_faults(seen), _batch_praise),
    ]
    if checkpoint is not None:
        verdicts.append(_judge_weights(seen, checkpoint, scores))
    verdicts.append(_judge_labels(model, seen, checkpoint, labels))
    return verdicts


def check_quantized(
    model: Path, labels: Mapping[str, int], limits: Limits | None = None
) -> Verdict:
    """Checks the promises that an int8 model can keep; the file may be hostile.

    They are those of `check_model` without its checkpoint, whose weights are not the
    rounded ones, and without NaN in, NaN out: integers have no NaN.

    Args:
        model: the ONNX file.
        labels: label to class index, as the graph's `class_mapping` says.
        limits: time and memory that opening it may take.

    Returns:
        int8_contract_holds.
    """
    seen = observe(model, _DEFAULT_SIZE, limits or Limits())
    mapping = _judge_labels(model, seen, None, labels)
    faults = [
        *_graph_faults(seen),
        *_value_faults(seen, None),
        *_batch_faults(seen),
        *([] if mapping.passed else [mapping.message]),
    ]
    if not seen.faults and seen.int8_share < _INT8_SHARE:
        faults.append(
            f"{seen.int8_share:.0%} of the weights have 8 bits; "
            f"expected at least {_INT8_SHARE:.0%}"
        )
    return _judge(
        "int8_contract_holds",
        list(dict.fromkeys(faults)),
        lambda: (
            f"{seen.int8_share:.0%} of the weights have 8 bits; "
            f"{_logits_praise(seen)}; {_batch_praise()}; {mapping.message}"
        ),
    )


def _judge(
    name: str,
    faults: list[str],
    praise: Callable[[], str] = str,
    facts: Mapping[str, Any] | None = None,
) -> Verdict:
    message = "; ".join(faults[:5]) if faults else praise()
    if len(faults) > 5:
        message += f"; and {len(faults) - 5} more"
    return Verdict(name, passed=not faults, message=message, facts=facts or {})


def _scores(seen: Observation) -> Numbers | None:
    """The answer for all rows: in one batch, or alone where that fails."""
    return seen.answers.get("batch_17", seen.answers.get("batch_1"))


def _unanswered(seen: Observation) -> list[str]:
    """Why there is nothing to judge by, if so."""
    if _scores(seen) is not None:
        return []
    if seen.errors:
        question, error = next(iter(seen.errors.items()))
        return [f"running {question.replace('_', ' ')} failed: {error}"]
    reasons = seen.faults or ("it has not one image input and one output",)
    return [f"not seen, as the model could not be run: {reasons[0]}"]


# graph_is_valid


def _graph_faults(seen: Observation) -> list[str]:
    faults = list(seen.faults)
    if seen.inputs or seen.outputs:
        faults += _signature_faults("input", ("batch", 3, "H", "W"), seen.inputs)
        faults += _signature_faults("logits", ("batch", "classes"), seen.outputs)
    if seen.properties or seen.outputs:
        faults += _metadata_faults(seen)
    return faults or _unanswered(seen) or _repeat_faults(seen)


def _graph_praise(seen: Observation) -> str:
    return (
        f"one self-contained file, opset {seen.opset}, that onnx.checker and "
        "onnxruntime accept; input -> logits; labels, preprocessing and origin inside; "
        "the same answer twice"
    )


def _signature_faults(name: str, dims: tuple[Any, ...], values: Any) -> list[str]:
    expected = f"one float32 {name} {list(dims)}"
    if len(values) != 1:
        return [f"{len(values)} values where {expected} is expected"]
    seen_name, seen_type, shape = values[0]
    fixed = [(a, b) for a, b in zip(shape, dims, strict=False) if isinstance(b, int)]
    if (
        seen_name != name
        or seen_type != "tensor(float)"
        or len(shape) != len(dims)
        or any(a != b for a, b in fixed)
    ):
        return [f"{seen_type} {seen_name} {list(shape)}; expected {expected}"]
    return []


def _metadata_faults(seen: Observation) -> list[str]:
    try:
        metadata = read_metadata(seen.properties)
    except ExportError as error:
        return [str(error)]
    missing = missing_provenance(seen.properties)
    if missing:
        return [f"the model's metadata lacks {', '.join(missing)}"]
    size = metadata.image_size
    sides = seen.inputs[0][2][2:] if seen.inputs else ()
    if any(isinstance(side, int) and side != size for side in sides):
        return [f"metadata says {size} px, the input is {list(sides)}"]
    return []


def _repeat_faults(seen: Observation) -> list[str]:
    first, again = seen.answers.get("batch_17"), seen.answers.get("again")
    if first is None or again is None:
        return []
    if not np.array_equal(first, again, equal_nan=True):
        return ["asked twice for the same batch, it gives two answers"]
    return []


# output_is_logits


def _logits_faults(seen: Observation, scores: Numbers | None) -> list[str]:
    return _value_faults(seen, scores) + _nan_faults(seen)


def _value_faults(seen: Observation, scores: Numbers | None) -> list[str]:
    logits = _scores(seen)
    if logits is None:
        return _unanswered(seen)
    if logits.ndim != 2 or logits.dtype != np.float32 or not logits.size:
        return [f"{logits.dtype} of shape {logits.shape}; expected float32 [17, n]"]
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).any(axis=1).sum())
        return [f"NaN or infinite scores for {bad} of {ROWS} ordinary inputs"]
    faults = _signature_faults("logits", ("batch", "classes"), seen.outputs)
    faults += _normalization_faults(logits.astype(np.float64))
    return faults + _disguise_faults(logits, scores) + list(seen.score_faults)


def _logits_praise(seen: Observation) -> str:
    logits = _scores(seen)
    assert logits is not None
    return (
        "finite, unnormalised scores out of a linear layer: from "
        f"{logits.min():.3g} to {logits.max():.3g}, rows summing to "
        f"{logits.sum(axis=1).min():.3g} to {logits.sum(axis=1).max():.3g} "
        "(probabilities would lie in 0..1, log-probabilities have a log-sum-exp of 0)"
    )


def _normalization_faults(logits: Numbers) -> list[str]:
    """Recognizes probabilities and log-probabilities by invariants of their rows."""
    rounding = RELATIVE_ROUNDING * max(1.0, float(np.abs(logits).max()))
    if np.ptp(logits, axis=0).max() == 0:
        return ["the same scores for every input: the image is not looked at"]
    if logits.min() >= 0 and logits.max() <= 1 + rounding:
        sums = logits.sum(axis=1)
        kind = "softmax" if within(sums, 1.0, rounding) else "sigmoid"
        return [
            f"all {logits.size} scores lie in 0..1 (rows sum to {sums.min():.4g} to "
            f"{sums.max():.4g}): {kind} probabilities, not logits"
        ]
    top = logits.max(axis=1, keepdims=True)
    totals = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    # Small scores of a young network have nearly constant sums too; at 0, none do.
    shifted = np.ptp(totals) <= rounding and np.ptp(logits) >= 1
    if within(totals, 0.0, rounding) or shifted:
        return [
            f"each row's log-sum-exp is {totals.mean():.4g}: log-probabilities "
            "(log_softmax), not logits"
        ]
    return []


def _disguise_faults(logits: Numbers, scores: Numbers | None) -> list[str]:
    """Recognizes a known function of the checkpoint's own scores."""
    if scores is None or scores.shape != logits.shape or np.isnan(scores).any():
        return []
    top = scores.max(axis=1, keepdims=True)
    log_softmax = scores - top
    log_softmax -= np.log(np.exp(log_softmax).sum(axis=1, keepdims=True))
    disguises = {
        "softmax": np.exp(log_softmax),
        "log_softmax": log_softmax,
        "sigmoid": np.exp(-np.logaddexp(0, -scores)),
        "log_sigmoid": -np.logaddexp(0, -scores),
        "tanh": np.tanh(scores),
        "relu": np.maximum(scores, 0),
    }
    plain = largest_error(logits, scores)
    return [
        f"the answers are {name} of the checkpoint's logits"
        for name, values in disguises.items()
        if 100 * largest_error(logits, values) < plain
    ]


def _nan_faults(seen: Observation) -> list[str]:
    answer = seen.answers.get("beside_nan")
    if answer is None or answer.shape[:1] != (ROWS,):
        return []  # what went wrong is not NaN's doing, or the batch axis's fault
    if not np.isnan(answer[list(NAN_ROWS)]).all():
        return ["an input of NaN gives scores that are numbers: bad input is hidden"]
    return []


# batch_axis_is_dynamic


def _batch_faults(seen: Observation) -> list[str]:
    if not seen.answers and not seen.errors:
        return _unanswered(seen)
    faults = _symbol_faults(seen)
    together = seen.answers.get("batch_17")
    failed: dict[int, str] = {}
    for size in BATCH_SIZES:
        name = f"batch_{size}"
        if name not in seen.answers:
            failed[size] = seen.errors.get(name, "it was not reached")
        elif together is not None:
            what = f"in batches of {size} instead of {ROWS}"
            faults += _row_faults(together, seen.answers[name], what)
    if failed:
        sizes, reason = ", ".join(map(str, failed)), next(iter(failed.values()))
        faults.append(f"it fails at batches of {sizes}: {reason}")
    if together is not None:
        faults += _company_faults(together, seen)
    return faults


def _batch_praise() -> str:
    sizes = ", ".join(map(str, BATCH_SIZES))
    return (
        f"batches of {sizes} give one row per image, and the same one in any order, "
        "in any company and alone"
    )


def _symbol_faults(seen: Observation) -> list[str]:
    if len(seen.inputs) != 1 or len(seen.outputs) != 1:
        return []
    first, last = (v[0][2][:1] for v in (seen.inputs, seen.outputs))
    if first != last or not all(isinstance(s, str) and s for s in (*first, *last)):
        return [
            f"the batch axis is declared {list(first)} for the input and {list(last)} "
            "for the output; expected one symbol for both"
        ]
    return []


def _company_faults(together: Numbers, seen: Observation) -> list[str]:
    kept = [row for row in range(ROWS) if row not in NAN_ROWS]
    faults = []
    for name, rows, what in (
        ("reversed", slice(None), "in another order"),
        ("beside_nan", kept, "beside rows of NaN"),
    ):
        answer = seen.answers.get(name)
        if answer is None or answer.shape != together.shape:
            reason = seen.errors.get(name, "rows are missing")
            faults.append(f"{what} it fails: {reason}")
        else:
            faults += _row_faults(together[rows], answer[rows], what)
    return faults


def _row_faults(together: Numbers, apart: Numbers, what: str) -> list[str]:
    expected = together[: len(apart)]
    if expected.shape != apart.shape:
        return [f"{what}: {apart.shape} instead of {expected.shape}"]
    sound = np.isfinite(together)
    scale = float(np.abs(together[sound]).max()) if sound.any() else 1.0
    if np.array_equal(expected, apart, equal_nan=True):
        return []
    if not within(apart, expected, RELATIVE_ROUNDING * scale):
        error = largest_error(apart, expected)
        return [f"rows change by up to {error:.3g} {what}: they depend on neighbours"]
    return []


# weights_match_checkpoint


def _reference_scores(
    checkpoint: Checkpoint | None, seen: Observation
) -> Numbers | None:
    """The averaged weights' logits for the same rows, in double precision."""
    if checkpoint is None or _unanswered(seen) or _other_size(seen, checkpoint):
        return None
    return _torch_scores(checkpoint, seen.answers["rows"], raw=False, double=True)


def _other_size(seen: Observation, checkpoint: Checkpoint) -> list[str]:
    """Says so where the model takes crops of a size that the checkpoint does not."""
    height, width = seen.answers["rows"].shape[2:]
    size = checkpoint.image_size
    if (height, width) == (size, size):
        return []
    return [f"it takes {height} x {width} px, the checkpoint {size} x {size}"]


def _torch_scores(
    checkpoint: Checkpoint, rows: Numbers, *, raw: bool, double: bool
) -> Numbers:
    import torch

    model, inputs = checkpoint.build_model(raw=raw), torch.from_numpy(rows)
    if double:
        model, inputs = model.double(), inputs.double()
    with torch.inference_mode():
        scores: Numbers = model(inputs).double().numpy()
    return scores


def _judge_weights(
    seen: Observation, checkpoint: Checkpoint, averaged: Numbers | None
) -> Verdict:
    name = "weights_match_checkpoint"
    logits = _scores(seen)
    if averaged is None or logits is None:
        faults = _unanswered(seen) or _other_size(seen, checkpoint)
        return _judge(name, faults)
    if logits.shape != averaged.shape:
        return _judge(name, [f"scores {logits.shape}; expected {averaged.shape}"])
    rows = seen.answers["rows"]
    rounded = _torch_scores(checkpoint, rows, raw=False, double=False)
    raw = _torch_scores(checkpoint, rows, raw=True, double=True)
    facts = {
        "error_to_averaged": largest_error(logits, averaged),
        "error_to_raw": largest_error(logits, raw),
        "averaged_to_raw": largest_error(averaged, raw),
        "tolerance": rounding_tolerance(rounded, averaged),
    }
    faults = _weight_faults(logits, averaged, raw, facts["tolerance"])
    faults += _origin_faults(seen, checkpoint)
    praise = (
        f"within {facts['error_to_averaged']:.2g} of the checkpoint's averaged weights "
        f"(allowed {facts['tolerance']:.2g}); the raw ones are "
        f"{facts['error_to_raw']:.2g} away"
    )
    return _judge(name, faults, lambda: praise, facts)


def _weight_faults(
    logits: Numbers, averaged: Numbers, raw: Numbers, tolerance: float
) -> list[str]:
    error, raw_error = largest_error(logits, averaged), largest_error(logits, raw)
    # Where both weights give the same scores, rounding alone decides which is nearer.
    if within(logits, raw, tolerance) and 4 * raw_error < error:
        return [
            "it holds the weights before averaging: its scores are within "
            f"{raw_error:.2g} of the raw weights', {error:.2g} from the averaged ones"
        ]
    if within(logits, averaged, tolerance):
        return []
    faults = [
        f"its scores are up to {error:.2g} from the checkpoint's averaged weights; "
        f"allowed is {tolerance:.2g}"
    ]
    if within(np.sort(logits), np.sort(averaged), tolerance):
        faults.append("the classes are in another order than the checkpoint's")
    return faults


def _origin_faults(seen: Observation, checkpoint: Checkpoint) -> list[str]:
    """Compares what the metadata says of the checkpoint, preprocessing above all."""
    try:
        metadata = read_metadata(seen.properties)
    except ExportError as error:
        return [str(error)]
    true = describe(checkpoint)
    return [
        f"metadata says {f.name} {getattr(metadata, f.name)!r}, the checkpoint "
        f"{getattr(true, f.name)!r}"
        for f in fields(ModelMetadata)
        if f.name != "labels" and getattr(metadata, f.name) != getattr(true, f.name)
    ]


# labels_match_class_mapping


def _judge_labels(
    model: Path,
    seen: Observation,
    checkpoint: Checkpoint | None,
    labels: Mapping[str, int] | None,
) -> Verdict:
    name = "labels_match_class_mapping"
    if not seen.outputs:
        return _judge(name, _unanswered(seen))
    try:
        metadata = read_metadata(seen.properties)
        sidecar = _read_sidecar(model.parent / "labels_mapping.json")
    except ExportError as error:
        return _judge(name, [str(error)])
    known = mapping_of(metadata.labels)
    others = {
        "the checkpoint": mapping_of(checkpoint.labels) if checkpoint else None,
        "the class mapping": labels,
        "labels_mapping.json beside it": sidecar,
    }
    faults = _class_count_faults(seen, metadata)
    for other, mapping in others.items():
        if mapping is not None and not _same_mapping(known, mapping):
            faults.append(_difference(known, mapping, other))
    agreeing = [other for other, mapping in others.items() if mapping is not None]
    praise = f"{len(known)} labels in class order, one score each"
    if agreeing:
        praise += f"; as in {', '.join(agreeing)}"
    return _judge(name, faults, lambda: praise)


def _class_count_faults(seen: Observation, metadata: ModelMetadata) -> list[str]:
    count = len(metadata.labels)
    widths = {seen.outputs[0][2][-1]} if seen.outputs[0][2] else set()
    scores = _scores(seen)
    if scores is not None:
        widths.add(scores.shape[-1])
    wrong = [w for w in widths if isinstance(w, int) and w != count]
    return [f"{wrong[0]} scores for {count} labels"] if wrong else []


def _same_mapping(known: Mapping[str, int], other: Mapping[str, Any]) -> bool:
    # To Python, False is 0 and 1.0 is 1; to a reader of JSON they are not.
    return dict(other) == known and all(type(v) is int for v in other.values())


def _difference(known: Mapping[str, int], other: Mapping[str, Any], where: str) -> str:
    differing = sorted(
        label
        for label in known.keys() | other.keys()
        if repr(known.get(label)) != repr(other.get(label))
    )
    first = differing[0]
    return (
        f"{len(differing)} labels differ from {where}: "
        f"{first!r} is class {known.get(first)} in the model, {other.get(first)} there"
    )


def _read_sidecar(path: Path) -> dict[str, Any] | None:
    """Reads the mapping beside a model, if there is one."""
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_SIDECAR_BYTES:
        raise ExportError(f"{path.name} has over {_MAX_SIDECAR_BYTES} bytes")
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(mapping, dict):
        raise ExportError(f"{path.name} is not a JSON object of label to class index")
    return mapping
