"""The contract that a model file keeps, checked by what it does.

`sandbox.py` opens the file in a child process and notes what it answers; here the
answers are judged. A graph can say `batch` and be fixed at 1 inside, call softmax
probabilities `logits`, or hold the weights before averaging: names are not believed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jersey_assets.export.contract.questions import (
    AGAIN,
    BESIDE_NAN,
    ROWS,
    Question,
    batches_of,
    questions,
)
from jersey_assets.export.contract.sandbox import Limits, Observation, observe
from jersey_assets.export.file_metadata import describe, mapping_of, missing_provenance
from jersey_assets.export.tolerance import (
    RELATIVE_ROUNDING,
    largest_error,
    rounding_tolerance,
    within,
)
from jersey_assets.labels.file import (
    LABELS_FILE,
    LabelsError,
    LabelsFile,
    Normalization,
    read_labels,
)
from jersey_assets.reader.file_metadata import ModelError, ModelMetadata, read_metadata
from jersey_assets.text import count, readable, shorten
from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint

# The last layer of an int8 model may stay in float; a small network has little else.
_INT8_SHARE = 0.5
_MAX_FAULT = 500
# Rows that are also scored in float64, ten times slower, to see what rounding does.
_DOUBLE_ROWS = slice(None, None, 5)
# Share of the largest weight that another order of folding may change.
_FOLDING = 1e-5
Numbers = NDArray[Any]


def check_model(
    model: Path,
    checkpoint: Checkpoint | None = None,
    labels: LabelsFile | None = None,
    limits: Limits | None = None,
) -> list[Verdict]:
    """Checks every promise about a model file; the file may be hostile.

    Args:
        model: the ONNX file; a `labels_mapping.json` beside it is checked too.
        checkpoint: what it was exported from, where known.
        labels: what another labels file says, the graph's `class_mapping` say.
        limits: time and memory that opening it may take.

    Returns:
        as `judge_model`.
    """
    return judge_model(model, observe(model, limits), checkpoint, labels)


def judge_model(
    model: Path,
    seen: Observation,
    checkpoint: Checkpoint | None,
    labels: LabelsFile | None,
) -> list[Verdict]:
    """Judges what was seen of a model; arguments as of `check_model`.

    Returns:
        graph_is_valid, output_is_logits, batch_axis_is_dynamic, with a checkpoint
        weights_match_checkpoint, and labels_match_class_mapping.
    """
    scores = _reference_scores(checkpoint, seen)
    verdicts = [
        _judge("graph_is_valid", _graph_faults(seen), partial(_graph_praise, seen)),
        _judge(
            "output_is_logits",
            _logits_faults(seen, scores),
            partial(_logits_praise, seen),
        ),
        _judge(
            "batch_axis_is_dynamic",
            _batch_faults(seen),
            partial(_batch_praise, seen),
        ),
    ]
    if checkpoint is not None:
        verdicts.append(_judge_weights(seen, checkpoint, scores))
    verdicts.append(_judge_labels(model, seen, checkpoint, labels))
    return verdicts


def check_quantized(
    model: Path, labels: LabelsFile, limits: Limits | None = None
) -> Verdict:
    """Checks the promises that an int8 model can keep; the file may be hostile.

    They are those of `check_model` without its checkpoint, whose weights are not the
    rounded ones, and without NaN in, NaN out: integers have no NaN.

    Args:
        model: the ONNX file.
        labels: what the graph's `class_mapping` says.
        limits: time and memory that opening it may take.

    Returns:
        int8_contract_holds.
    """
    seen = observe(model, limits)
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
            f"{_logits_praise(seen)}; {_batch_praise(seen)}; {mapping.message}"
        ),
    )


def _judge(
    name: str,
    faults: list[str],
    praise: Callable[[], str] = str,
    facts: Mapping[str, Any] | None = None,
) -> Verdict:
    cut = [f if len(f) <= _MAX_FAULT else f"{f[:_MAX_FAULT]}…" for f in faults[:5]]
    message = "; ".join(cut) if faults else praise()
    if len(faults) > 5:
        message += f"; and {len(faults) - 5} more"
    return Verdict(
        name, passed=not faults, message=readable(message), facts=facts or {}
    )


def _asked(seen: Observation) -> dict[str, Question]:
    """The questions, by name; none where nothing could be asked."""
    return questions(bytes.fromhex(seen.sha256)) if seen.sha256 else {}


def _scores(seen: Observation) -> tuple[Question, Numbers] | None:
    """The answer for all rows in one batch, or what was answered first without it."""
    for name, question in _asked(seen).items():
        if name in seen.answers and not question.nan:
            return question, seen.answers[name]
    return None


def _unanswered(seen: Observation) -> list[str]:
    """Why there is nothing to judge by, if so."""
    if _scores(seen) is not None:
        return []
    if seen.errors:
        question, error = next(iter(seen.errors.items()))
        return [f"running {question} failed: {error}"]
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
    except ModelError as error:
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
    size = _asked(seen)[AGAIN].size
    first, again = seen.answers.get(batches_of(size)), seen.answers.get(AGAIN)
    if first is None or again is None:
        return []  # the batch axis's fault
    if not np.array_equal(first, again, equal_nan=True):
        return ["asked twice for the same batch, it gives two answers"]
    return []


# output_is_logits


def _logits_faults(seen: Observation, scores: Numbers | None) -> list[str]:
    return _value_faults(seen, scores) + _nan_faults(seen)


def _value_faults(seen: Observation, scores: Numbers | None) -> list[str]:
    answer = _scores(seen)
    if answer is None:
        return _unanswered(seen)
    rows, logits = answer[0].rows, answer[1]
    if logits.ndim != 2 or logits.dtype != np.float32 or not logits.size:
        expected = f"float32 [{len(rows)}, n]"
        return [f"{logits.dtype} of shape {logits.shape}; expected {expected}"]
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).any(axis=1).sum())
        return [f"NaN or infinite scores for {bad} of {len(rows)} ordinary inputs"]
    faults = _signature_faults("logits", ("batch", "classes"), seen.outputs)
    faults += _normalization_faults(logits.astype(np.float64))
    if scores is not None:
        faults += _disguise_faults(logits, scores[rows])
    return faults + list(seen.score_faults)


def _logits_praise(seen: Observation) -> str:
    answer = _scores(seen)
    assert answer is not None
    logits = answer[1]
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


def _disguise_faults(logits: Numbers, scores: Numbers) -> list[str]:
    """Recognizes a known function of the checkpoint's own scores."""
    if scores.shape != logits.shape or np.isnan(scores).any():
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
    answer = seen.answers.get(BESIDE_NAN)
    if answer is None:
        return []  # what went wrong is not NaN's doing, or the batch axis's fault
    if not np.isnan(answer[list(_asked(seen)[BESIDE_NAN].nan)]).all():
        return ["an input of NaN gives scores that are numbers: bad input is hidden"]
    return []


# batch_axis_is_dynamic


def _batch_faults(seen: Observation) -> list[str]:
    asked = _asked(seen)
    if not asked:
        return _unanswered(seen)
    faults = _symbol_faults(seen)
    together = seen.answers.get(batches_of(ROWS))
    unanswered = {}
    for name, question in asked.items():
        answer = seen.answers.get(name)
        if answer is None:
            unanswered[name] = seen.errors.get(name, "there is no answer")
        elif together is not None:
            faults += _row_faults(together, answer, question, name)
    if unanswered:
        reason = next(iter(unanswered.values()))
        faults.append(f"it fails at {', '.join(unanswered)}: {reason}")
    return faults


def _batch_praise(seen: Observation) -> str:
    sizes = {question.size for question in _asked(seen).values()}
    return (
        f"batches of {', '.join(map(str, sorted(sizes)))} give one row per image, and "
        "the same one in any order, in any company and alone"
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


def _row_faults(
    together: Numbers, answer: Numbers, question: Question, name: str
) -> list[str]:
    """Compares an answer with those rows of the batch of all; NaN rows left out."""
    kept = np.delete(np.arange(len(question.rows)), list(question.nan))
    expected = together[question.rows[kept]]
    if answer.shape[1:] != expected.shape[1:]:
        return [f"{name}: {answer.shape} where {expected.shape[1:]} a row is expected"]
    apart = answer[kept]
    if np.array_equal(expected, apart, equal_nan=True):
        return []
    sound = np.isfinite(together)
    scale = float(np.abs(together[sound]).max()) if sound.any() else 1.0
    if not within(apart, expected, RELATIVE_ROUNDING * scale):
        error = largest_error(apart, expected)
        return [
            f"rows change by up to {error:.3g} in {name} instead of {ROWS}: they "
            "depend on neighbours"
        ]
    return []


# weights_match_checkpoint


def _reference_scores(
    checkpoint: Checkpoint | None, seen: Observation
) -> Numbers | None:
    """The averaged weights' logits for all pictures."""
    if checkpoint is None or _unanswered(seen) or _other_size(seen, checkpoint):
        return None
    return _torch_scores(checkpoint, seen.answers["rows"])


def _other_size(seen: Observation, checkpoint: Checkpoint) -> list[str]:
    """Says so where the model takes crops of a size that the checkpoint does not."""
    height, width = seen.answers["rows"].shape[2:]
    size = checkpoint.image_size
    if (height, width) == (size, size):
        return []
    return [f"it takes {height} x {width} px, the checkpoint {size} x {size}"]


def _torch_scores(
    checkpoint: Checkpoint, rows: Numbers, *, raw: bool = False, double: bool = False
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
    answer = _scores(seen)
    if averaged is None or answer is None:
        faults = _unanswered(seen) or _other_size(seen, checkpoint)
        return _judge(name, faults)
    rows, logits = answer[0].rows, answer[1]
    if logits.shape != (len(rows), averaged.shape[1]):
        expected = (len(rows), averaged.shape[1])
        return _judge(name, [f"scores {logits.shape}; expected {expected}"])
    inputs = seen.answers["rows"]
    exact = _torch_scores(checkpoint, inputs[_DOUBLE_ROWS], double=True)
    tolerance = rounding_tolerance(averaged[_DOUBLE_ROWS], exact)
    raw = _torch_scores(checkpoint, inputs, raw=True)[rows]
    averaged = averaged[rows]
    facts = {
        "error_to_averaged": largest_error(logits, averaged),
        "error_to_raw": largest_error(logits, raw),
        "averaged_to_raw": largest_error(averaged, raw),
        "tolerance": tolerance,
    }
    changed, identical = _compare_tensors(seen, checkpoint)
    faults = _weight_faults(logits, averaged, raw, tolerance)
    faults += changed + _origin_faults(seen, checkpoint)
    praise = (
        f"within {facts['error_to_averaged']:.2g} of the checkpoint's averaged weights "
        f"(allowed {tolerance:.2g}); the raw ones are "
        f"{facts['error_to_raw']:.2g} away; "
    )
    praise += (
        f"its {len(seen.weights)} tensors are the averaged ones, value for value, and "
        f"its {seen.operators} operators as many as the network's"
        if identical
        else "it is written otherwise than this version exports it, so its answers "
        "alone were judged"
    )
    return _judge(name, faults, lambda: praise, {**facts, "identical": identical})


def _compare_tensors(
    seen: Observation, checkpoint: Checkpoint
) -> tuple[list[str], bool]:
    """Compares the file's tensors with the checkpoint's, also where no picture led.

    Returns:
        what is wrong with tensors that bear a name of the checkpoint's, and whether
        the file holds nothing but what exporting the checkpoint again would give.
    """
    from jersey_assets.export.folding import count_operators, fold

    network = checkpoint.build_model()
    folded = fold(network)
    trained = {name: value.numpy() for name, value in network.state_dict().items()}
    exported = {name: value.numpy() for name, value in folded.state_dict().items()}
    faults, alike = [], set()
    for name, values in seen.weights.items():
        # Another exporter leaves normalization where it was.
        known = [own[name] for own in (exported, trained) if name in own]
        known = [own for own in known if own.shape == values.shape]
        if known and _same_tensor(values, known[0]):
            alike.add(name)
        elif known and not _same_tensor(values, known[-1]):
            error = largest_error(values, known[-1])
            faults.append(
                f'weights "{shorten(name)}" differ from the checkpoint\'s averaged '
                f"ones of that name by up to {error:.2g}"
            )
    # The exporter leaves out a bias of zeros.
    needed = {name for name, values in exported.items() if values.any()}
    identical = (
        not faults
        and needed <= alike == set(seen.weights)
        and seen.operators == count_operators(folded)
    )
    return faults, identical


def _same_tensor(values: Numbers, known: Numbers) -> bool:
    return within(values, known, _FOLDING * float(np.abs(known).max(initial=0)))


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
    except ModelError as error:
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
    labels: LabelsFile | None,
) -> Verdict:
    name = "labels_match_class_mapping"
    if not seen.outputs:
        return _judge(name, _unanswered(seen))
    try:
        metadata = read_metadata(seen.properties)
        sidecar = _read_sidecar(model.parent / LABELS_FILE)
    except (ModelError, LabelsError) as error:
        return _judge(name, [str(error)])
    others = {
        "the checkpoint": LabelsFile(mapping_of(checkpoint.labels))
        if checkpoint
        else None,
        "the class mapping": labels,
        f"{LABELS_FILE} beside it": sidecar,
    }
    found = {where: other for where, other in others.items() if other is not None}
    faults = _class_count_faults(seen, metadata)
    for where, other in found.items():
        faults += _label_faults(metadata, other, where)
    if sidecar is not None and sidecar.normalization is None:
        faults.append(f"{LABELS_FILE} beside it says nothing of the normalization")
    praise = f"{count(len(metadata.labels), 'label')} in class order, one score each"
    if found:
        praise += f"; as in {', '.join(found)}"
    return _judge(name, faults, lambda: praise)


def _class_count_faults(seen: Observation, metadata: ModelMetadata) -> list[str]:
    count = len(metadata.labels)
    widths = {seen.outputs[0][2][-1]} if seen.outputs[0][2] else set()
    answer = _scores(seen)
    if answer is not None:
        widths.add(answer[1].shape[-1])
    wrong = [w for w in widths if isinstance(w, int) and w != count]
    return [f"{wrong[0]} scores for {count} labels"] if wrong else []


def _label_faults(metadata: ModelMetadata, other: LabelsFile, where: str) -> list[str]:
    """Compares labels, and the normalization where the other one says it."""
    known, faults = mapping_of(metadata.labels), []
    differing = sorted(
        label
        for label in known.keys() | other.classes.keys()
        if known.get(label) != other.classes.get(label)
    )
    if differing:
        first = differing[0]
        faults.append(
            f"{count(len(differing), 'label differs', 'labels differ')} from {where}: "
            f"{shorten(repr(first))} is "
            f"class {known.get(first)} in the model, {other.classes.get(first)} there"
        )
    own = Normalization(metadata.mean, metadata.std)
    if other.normalization not in (None, own):
        faults.append(
            f"the normalization is {own.mean}, {own.std} in the model and "
            f"{other.normalization.mean}, {other.normalization.std} in {where}"
        )
    return faults


def _read_sidecar(path: Path) -> LabelsFile | None:
    """Reads the labels beside a model; what cannot be read is not absent."""
    return read_labels(path) if os.path.lexists(path) else None
