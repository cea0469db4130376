"""The sandbox's child process: runs an untrusted model and records what it does.

`sandbox.py` starts it with the model as standard input and limits on time and memory.
It writes its current stage to `stage`, its observations to `seen.json`, the model's
answers to `answers.npz` and its weights to `weights.npz`, all in the current folder;
`check.py` judges them.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from jersey_assets.export.contract.questions import ROWS, Array, ask, questions
from jersey_assets.reader.file_metadata import ModelError, read_metadata

_MAX_METADATA = 2**20
# Side of the pictures, px, if neither the graph nor the metadata says it.
_USUAL_SIZE = 64
_MAX_WEIGHT_BYTES = 2**29
_MAX_FILE_BYTES = 2**31


def main() -> None:
    """Records what can be observed of the model on standard input."""
    memory_bytes, seconds = (int(text) for text in sys.argv[1:3])
    _limit(memory_bytes, seconds)
    seen: dict[str, Any] = {"faults": [], "score_faults": [], "errors": {}}
    answers: dict[str, Array] = {}
    try:
        _observe(sys.stdin.buffer.read(), seen, answers)
    except MemoryError:
        seen["faults"].append(f"it needs more than {memory_bytes / 2**30:.1f} GiB")
    _stage("writing the observations")
    np.savez("answers.npz", **answers)  # type: ignore[arg-type]
    Path("seen.json").write_text(json.dumps(seen))


def _inputs(digest: bytes, sides: list[int], properties: dict[str, str]) -> Array:
    """The probe pictures, normalized as the model's own metadata says."""
    from jersey_assets.crops.prepare import normalize_crops
    from jersey_assets.export.contract.pictures import draw_pictures

    mean: tuple[float, ...] = (0.45, 0.45, 0.45)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    with suppress(ModelError):
        metadata = read_metadata(properties)
        mean, std = metadata.mean, metadata.std
    draw = np.random.default_rng(int.from_bytes(digest, "big"))
    return normalize_crops(draw_pictures(draw, ROWS, *sides), mean, std)


def _limit(memory_bytes: int, seconds: int) -> None:
    # The parent ends this after its time, unless the parent itself was killed.
    resource.setrlimit(resource.RLIMIT_CPU, (2 * seconds, 2 * seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _stage(text: str) -> None:
    Path("stage").write_text(text)


def _observe(data: bytes, seen: dict[str, Any], answers: dict[str, Array]) -> None:
    _stage("reading the graph")
    if not _read_graph(data, seen):
        return
    _stage("loading the model in onnxruntime")
    from jersey_assets.reader.session import open_session

    try:
        session = open_session(data, threads=2)
    except ModelError as error:
        seen["faults"].append(str(error))
        return
    inputs, outputs = session.get_inputs(), session.get_outputs()
    seen["inputs"] = [[i.name, i.type, i.shape] for i in inputs]
    seen["outputs"] = [[o.name, o.type, o.shape] for o in outputs]
    properties = session.get_modelmeta().custom_metadata_map
    length = sum(map(len, properties.values()))
    if length > _MAX_METADATA:
        seen["faults"].append(
            f"the metadata has {length} characters; at most {_MAX_METADATA} are allowed"
        )
        return
    seen["properties"] = properties
    if len(inputs) == 1 and len(outputs) == 1 and len(inputs[0].shape) == 4:
        _ask(session, data, seen, answers)


def _ask(
    session: Any, data: bytes, seen: dict[str, Any], answers: dict[str, Array]
) -> None:
    """Asks a model with one input and one output all questions."""
    from jersey_assets.reader.session import short_message

    (given,), (wanted,) = session.get_inputs(), session.get_outputs()
    said = seen["properties"].get("jersey.image_size", "")
    size = int(said) if said in map(str, range(1, 1025)) else _USUAL_SIZE
    sides = [s if isinstance(s, int) else size for s in given.shape[2:]]
    _stage("drawing pictures")
    digest = hashlib.sha256(data).digest()
    rows = _inputs(digest, sides, seen["properties"])
    seen["sha256"] = digest.hex()
    answers["rows"] = rows

    def answer(batch: Array) -> Array:
        logits: Array = session.run([wanted.name], {given.name: batch})[0]
        if not isinstance(logits, np.ndarray) or logits.dtype.kind not in "fiu":
            raise TypeError("the output is not a tensor of numbers")
        return logits

    for name, question in questions(digest).items():
        _stage(f"running {name}")
        try:
            answers[name] = ask(answer, rows, question)
        except MemoryError:
            raise
        except Exception as error:  # whatever onnxruntime raises is recorded
            seen["errors"][name] = short_message(error)


def _read_graph(data: bytes, seen: dict[str, Any]) -> bool:
    """Records what the graph says; returns whether it is safe to load."""
    import onnx

    from jersey_assets.export.contract.onnx_graph import (
        find_unsafe,
        find_wrong_opset,
        opset,
    )
    from jersey_assets.export.contract.wire import find_odd_bytes
    from jersey_assets.reader.session import refuse_two_models, short_message

    try:
        refuse_two_models(data)
        model = onnx.ModelProto.FromString(data)
    except ModelError as error:
        seen["faults"].append(str(error))
        return False
    except Exception:  # protobuf's DecodeError is typed nowhere
        seen["faults"].append("not an ONNX file")
        return False
    seen["opset"] = opset(model)
    unsafe = find_odd_bytes(data, model.DESCRIPTOR) + find_unsafe(model)
    seen["faults"] += unsafe
    if unsafe:
        return False
    seen["faults"] += find_wrong_opset(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # checker, inference and protobuf each raise their own
        seen["faults"].append(f"onnx.checker: {short_message(error)}")
        return False
    _note_graph(model, seen)
    return True


def _note_graph(model: Any, seen: dict[str, Any]) -> None:
    """Records what a valid graph is made of."""
    from jersey_assets.export.contract import onnx_graph
    from jersey_assets.export.contract.score_source import find_score_faults

    seen["faults"] += onnx_graph.find_training_operators(model)
    seen["faults"] += onnx_graph.find_bad_weights(model)
    seen["score_faults"] = find_score_faults(model)
    seen["int8_share"] = onnx_graph.int8_share(model)
    seen["operators"] = onnx_graph.count_operators(model)
    weights = onnx_graph.float_weights(model)
    if sum(values.nbytes for values in weights.values()) <= _MAX_WEIGHT_BYTES:
        seen["weights"] = list(weights)
        # By number: a name could be anything, even that of an argument of savez.
        arrays: dict[str, Any] = {f"w{i}": v for i, v in enumerate(weights.values())}
        np.savez("weights.npz", **arrays)


if __name__ == "__main__":
    main()
