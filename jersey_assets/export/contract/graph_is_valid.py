"""graph_is_valid: one self-contained file with the right input, output and metadata."""

from __future__ import annotations

from typing import Any

import numpy as np

from jersey_assets.export.contract.judging import judge
from jersey_assets.export.contract.observation import Observation
from jersey_assets.export.contract.questions import AGAIN, batches_of
from jersey_assets.export.file_metadata import missing_provenance
from jersey_assets.reader.file_metadata import ModelError, read_metadata
from jersey_assets.verdict import Verdict


def judge_graph(seen: Observation) -> Verdict:
    """Judges the file, its metadata, and whether it repeats its answers."""
    return judge(
        "graph_is_valid",
        graph_faults(seen),
        lambda: (
            f"one self-contained file, opset {seen.opset}, that onnx.checker and "
            "onnxruntime accept; input -> logits; it contains labels, preprocessing "
            "and origin; it gives the same answer twice"
        ),
    )


def graph_faults(seen: Observation) -> list[str]:
    """What is wrong with the file itself."""
    faults = list(seen.faults)
    if seen.inputs or seen.outputs:
        faults += signature_faults("input", ("batch", 3, "H", "W"), seen.inputs)
        faults += signature_faults("logits", ("batch", "classes"), seen.outputs)
    if seen.properties or seen.outputs:
        faults += _metadata_faults(seen)
    return faults or seen.unanswered() or _repeat_faults(seen)


def signature_faults(name: str, dims: tuple[Any, ...], values: Any) -> list[str]:
    """Compares a session's inputs or outputs with the expected float32 tensor."""
    expected = f"one float32 {name} {list(dims)}"
    if len(values) != 1:
        return [f"there are {len(values)} values; expected {expected}"]
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
        return [f"the model's metadata has no {', '.join(missing)}"]
    size = metadata.image_size
    sides = seen.inputs[0][2][2:] if seen.inputs else ()
    if any(isinstance(side, int) and side != size for side in sides):
        return [f"the metadata says {size} px, but the input is {list(sides)}"]
    return []


def _repeat_faults(seen: Observation) -> list[str]:
    size = seen.asked()[AGAIN].size
    first, again = seen.answers.get(batches_of(size)), seen.answers.get(AGAIN)
    if first is None or again is None:
        return []  # a fault of the batch axis
    if not np.array_equal(first, again, equal_nan=True):
        return ["it gives two different answers for the same batch"]
    return []
