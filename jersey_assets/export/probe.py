"""Runs in a child process: opens a model that nobody trusts and notes what it does.

`sandbox.py` starts it with the model as standard input and limits on time and memory.
What it is doing goes into `stage`, what it saw into `seen.json`, what the model
answered into `answers.npz`, all in the current folder; `contract.py` judges.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jersey_assets.export.metadata import ExportError, read_metadata

Array = NDArray[np.float32]

BATCH_SIZES = (1, 2, 3, 5, 17)
ROWS = max(BATCH_SIZES)
_MAX_METADATA = 2**20
# Rows that are replaced by NaN to see what their neighbours do.
NAN_ROWS = (1, 8)


def main() -> None:
    """Notes what can be known of the model on standard input."""
    memory_bytes, fallback_size, seconds = (int(text) for text in sys.argv[1:4])
    _limit(memory_bytes, seconds)
    seen: dict[str, Any] = {"faults": [], "score_faults": [], "errors": {}}
    answers: dict[str, Array] = {}
    try:
        _observe(sys.stdin.buffer.read(), fallback_size, seen, answers)
    except MemoryError:
        seen["faults"].append(f"it needs more than {memory_bytes / 2**30:.1f} GiB")
    _stage("writing down what was seen")
    np.savez("answers.npz", **answers)  # type: ignore[arg-type]
    Path("seen.json").write_text(json.dumps(seen))


def probe_rows(data: bytes, height: int, width: int) -> NDArray[np.float64]:
    """Draws pictures on the 0..1 scale, float64 [17, 3, height, width].

    Smooth and rough noise, flat and striped pictures: inputs that light up different
    parts of a network. The last two are darker than black and brighter than white. The
    same file is asked the same, by its digest, and another file something else.
    """
    digest = hashlib.sha256(data).digest()
    draw = np.random.default_rng(int.from_bytes(digest, "big"))
    rows = draw.uniform(0, 1, (ROWS, 3, height, width))
    coarse = draw.uniform(0, 1, (6, 3, 4, 4))
    rows[5:11] = coarse[:, :, np.arange(height) * 4 // height][
        :, :, :, np.arange(width) * 4 // width
    ]
    rows[11] = np.linspace(0, 1, width)
    rows[12] = np.linspace(0, 1, height)[:, None]
    rows[13] = np.arange(width) % 2
    rows[14] = (np.arange(width) // 4 + np.arange(height)[:, None] // 4) % 2
    rows[15], rows[16] = -0.5, 1.5
    return rows


def _normalized(rows: NDArray[np.float64], properties: dict[str, str]) -> Array:
    """Network inputs, normalized as the model's own metadata asks for."""
    mean: tuple[float, ...] = (0.45, 0.45, 0.45)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    with suppress(ExportError):
        metadata = read_metadata(properties)
        mean, std = metadata.mean, metadata.std
    shift, scale = np.reshape(mean, (3, 1, 1)), np.reshape(std, (3, 1, 1))
    inputs: Array = ((rows - shift) / scale).astype(np.float32)
    return inputs


def _limit(memory_bytes: int, seconds: int) -> None:
    # Whoever started this ends it after its time, unless it was itself killed.
    resource.setrlimit(resource.RLIMIT_CPU, (2 * seconds, 2 * seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _stage(text: str) -> None:
    Path("stage").write_text(text)


def _observe(
    data: bytes, fallback_size: int, seen: dict[str, Any], answers: dict[str, Array]
) -> None:
    _stage("reading the graph")
    if not _read_graph(data, seen):
        return
    _stage("loading the model in onnxruntime")
    session = _load(data, seen)
    if session is None:
        return
    inputs, outputs = session.get_inputs(), session.get_outputs()
    seen["inputs"] = [[i.name, i.type, i.shape] for i in inputs]
    seen["outputs"] = [[o.name, o.type, o.shape] for o in outputs]
    properties = session.get_modelmeta().custom_metadata_map
    length = sum(map(len, properties.values()))
    if length > _MAX_METADATA:
        seen["faults"].append(
            f"{length} characters of metadata; at most {_MAX_METADATA}"
        )
        return
    seen["properties"] = properties
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
        return
    said = seen["properties"].get("jersey.image_size", "")
    size = int(said) if said in map(str, range(1, 1025)) else fallback_size
    sides = [s if isinstance(s, int) else size for s in inputs[0].shape[2:]]
    rows = _normalized(probe_rows(data, *sides), properties)
    answers["rows"] = rows

    def answer(batch: Array) -> Array:
        logits: Array = session.run([outputs[0].name], {inputs[0].name: batch})[0]
        if not isinstance(logits, np.ndarray) or logits.dtype.kind not in "fiu":
            raise TypeError("the output is no tensor of numbers")
        return logits

    _ask(answer, rows, seen, answers)


def _read_graph(data: bytes, seen: dict[str, Any]) -> bool:
    """Notes what the graph says; whether it is safe to load."""
    import onnx

    from jersey_assets.export import graph

    try:
        model = onnx.ModelProto.FromString(data)
    except Exception:  # protobuf's DecodeError is typed nowhere
        seen["faults"].append("not an ONNX file")
        return False
    seen["opset"] = graph.opset(model)
    unsafe = graph.find_external_data(model) + graph.find_foreign_operators(model)
    seen["faults"] += unsafe
    if unsafe:
        return False
    seen["faults"] += graph.find_wrong_opset(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # checker, inference and protobuf have their own each
        seen["faults"].append(f"onnx.checker: {_short(error)}")
        return False
    seen["faults"] += graph.find_training_operators(model)
    seen["faults"] += graph.find_bad_weights(model)
    seen["score_faults"] = graph.find_score_faults(model)
    seen["int8_share"] = graph.int8_share(model)
    return True


def _load(data: bytes, seen: dict[str, Any]) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen unrelated error types
        seen["faults"].append(f"onnxruntime refuses it: {_short(error)}")
        return None


def _ask(
    answer: Callable[[Array], Array],
    rows: Array,
    seen: dict[str, Any],
    answers: dict[str, Array],
) -> None:
    """Asks for the same rows in other company; errors are noted, not raised."""
    beside_nan = rows.copy()
    beside_nan[list(NAN_ROWS)] = np.nan
    questions: dict[str, Callable[[], Array]] = {
        f"batch_{size}": partial(_in_batches, answer, rows, size)
        for size in reversed(BATCH_SIZES)
    }
    questions["again"] = partial(answer, rows)
    questions["reversed"] = lambda: answer(np.ascontiguousarray(rows[::-1]))[::-1]
    questions["beside_nan"] = partial(answer, beside_nan)
    for name, question in questions.items():
        _stage(f"running {name.replace('_', ' ')}")
        try:
            answers[name] = question()
        except MemoryError:
            raise
        except Exception as error:  # whatever onnxruntime raises is an answer here
            seen["errors"][name] = _short(error)


def _in_batches(answer: Callable[[Array], Array], rows: Array, size: int) -> Array:
    """Answers for as many rows as fill whole batches."""
    parts = []
    for start in range(0, ROWS - size + 1, size):
        part = answer(rows[start : start + size])
        if part.shape[:1] != (size,):
            raise ValueError(f"{size} crops gave an answer of shape {part.shape}")
        parts.append(part)
    return np.concatenate(parts)


def _short(error: Exception) -> str:
    """The error in one line; what onnxruntime means to say stands at the end."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:80]} … {text[-220:]}"


if __name__ == "__main__":
    main()
