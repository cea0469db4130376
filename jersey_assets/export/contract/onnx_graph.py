"""Inspects an ONNX graph without running it: operators, weights, opset, functions.

`probe.py` calls these functions inside the child process, on untrusted files. Each one
returns a list of faults, which is empty if there are none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx.helper
import onnx.numpy_helper
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from jersey_assets.text import shorten

# The oldest opset that onnxruntime guarantees; it refuses opsets that are too new.
OLDEST_OPSET = 7
_STANDARD_DOMAINS = ("", "ai.onnx")
# Domains in which a runtime has its own operators, and may prefer them to a function.
_RUNTIME_DOMAINS = (
    *("ai.", "com.amd.", "com.intel.", "com.microsoft.", "com.ms.", "com.nvidia."),
    *("com.qti.", "com.qualcomm.", "com.xilinx.", "org.pytorch."),
)
_BRANCHES = {"If", "Loop", "Scan", "SequenceMap"}
FLOATS = (
    *(TensorProto.FLOAT, TensorProto.DOUBLE),
    *(TensorProto.FLOAT16, TensorProto.BFLOAT16),
)
RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


def find_unsafe(model: ModelProto) -> list[str]:
    """Says why a graph must not be loaded by a runtime at all."""
    return [
        *_find_external_data(model),
        *_find_foreign_operators(model),
        *_find_ambiguous_functions(model),
        *_find_branches(model),
        *_find_replaceable_weights(model),
    ]


def _find_external_data(model: ModelProto) -> list[str]:
    """Names tensors whose values are outside the file."""
    return [
        f'tensor "{shorten(tensor.name)}" is stored outside the file, at '
        f'"{shorten(_location(tensor))}": export with external_data=False'
        for tensor in _messages(model, TensorProto)
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data
    ]


def _find_foreign_operators(model: ModelProto) -> list[str]:
    """Names operators that are neither standard ONNX nor functions in the model."""
    known = {(function.domain, function.name) for function in model.functions}
    foreign = {
        f"{node.domain}.{node.op_type}"
        for node in _messages(model, NodeProto)
        if node.domain not in _STANDARD_DOMAINS
        and (node.domain, node.op_type) not in known
    }
    return [
        f"operator {shorten(name)} is not a standard ONNX operator"
        for name in sorted(foreign)
    ]


def _find_ambiguous_functions(model: ModelProto) -> list[str]:
    """Names functions that two runtimes may interpret differently."""
    faults = []
    names = Counter((function.domain, function.name) for function in model.functions)
    for (domain, name), times in names.items():
        shown = shorten(f"{domain}.{name}")
        if not domain or f"{domain}.".startswith(_RUNTIME_DOMAINS):
            faults.append(
                f"function {shown} is in a domain of operators: a runtime may run its "
                "own instead"
            )
        if times > 1:
            faults.append(f"function {shown} is defined {times} times")
    return faults


def _find_branches(model: ModelProto) -> list[str]:
    """Names operators that choose at run time what is computed, and how often."""
    chosen = {
        node.op_type
        for node in _messages(model, NodeProto)
        if node.op_type in _BRANCHES
        or any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute)
    }
    return [
        f"operator {shorten(name)} chooses at run time what is computed; a model may "
        "have only one path"
        for name in sorted(chosen)
    ]


def _find_replaceable_weights(model: ModelProto) -> list[str]:
    """Names weights that a caller of the model may replace, or that occur twice."""
    graph = model.graph
    names = Counter(tensor.name for tensor in graph.initializer)
    names.update(tensor.values.name for tensor in graph.sparse_initializer)
    inputs = {value.name for value in graph.input}
    return [
        f'weights "{shorten(name)}" are an input as well: a caller may replace them'
        for name in names
        if name in inputs
    ] + [
        f'weights "{shorten(name)}" occur {times} times'
        for name, times in names.items()
        if times > 1
    ]


def float_weights(model: ModelProto) -> dict[str, NDArray[Any]]:
    """The float tensors that the graph's operators read, except scalars."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    tensors |= {node.output[0]: node.attribute[0].t for node in _constant_nodes(graph)}
    read = {name for node in graph.node for name in node.input}
    return {
        name: onnx.numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if name in read and tensor.data_type in FLOATS and math.prod(tensor.dims) > 1
    }


def count_operators(model: ModelProto) -> int:
    """Number of operators, without those inside functions and without constants."""
    return len(model.graph.node) - len(_constant_nodes(model.graph))


def find_training_operators(model: ModelProto) -> list[str]:
    """Names operators that behave as in training: batch statistics, randomness."""
    faults = []
    for node in _messages(model, NodeProto):
        name = f'{node.op_type} "{shorten(node.name)}"'
        if node.op_type in RANDOM:
            faults.append(f"{name} draws random numbers")
        elif node.op_type == "BatchNormalization" and attribute(node, "training_mode"):
            faults.append(f"{name} normalizes with the statistics of the batch")
        elif node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            faults += _training_dropout(model.graph, node, name)
    return faults


def find_bad_weights(model: ModelProto) -> list[str]:
    """Names float weights that are NaN or infinite; scalars may bound a range."""
    faults = []
    for tensor in _messages(model, TensorProto):
        if tensor.data_type not in FLOATS:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        bad = int(values.size - np.isfinite(values).sum())
        if bad and values.size > 1:
            faults.append(
                f'weights "{shorten(tensor.name)}": {bad} of {values.size} not finite'
            )
    return faults


def int8_share(model: ModelProto) -> float:
    """The share of the weights' values, 0..1, that have 8 bits.

    Biases and unused tensors are not counted.
    """
    sizes = {True: 0, False: 0}
    read = {name for node in _messages(model, NodeProto) for name in node.input}
    for tensor in _messages(model, TensorProto):
        if len(tensor.dims) > 1 and (not tensor.name or tensor.name in read):
            eight = tensor.data_type in (TensorProto.INT8, TensorProto.UINT8)
            sizes[eight] += math.prod(tensor.dims)
    return sizes[True] / max(sum(sizes.values()), 1)


def opset(model: ModelProto) -> int:
    """Version of the standard operators, 0 unless there is exactly one."""
    versions = [o.version for o in model.opset_import if o.domain in _STANDARD_DOMAINS]
    return versions[0] if len(versions) == 1 else 0


def find_wrong_opset(model: ModelProto) -> list[str]:
    """Says if the standard operators' version is older than guaranteed."""
    version = opset(model)
    if version < OLDEST_OPSET:
        found = f"opset {version}" if version else "no opset, or two of them"
        return [f"{found}; onnxruntime guarantees {OLDEST_OPSET} and later"]
    return []


def _constant_nodes(graph: GraphProto) -> list[NodeProto]:
    """Nodes that are just a tensor."""
    return [
        node
        for node in graph.node
        if node.op_type == "Constant"
        and node.domain in _STANDARD_DOMAINS
        and [a.name for a in node.attribute] == ["value"]
    ]


def _training_dropout(graph: GraphProto, node: NodeProto, name: str) -> list[str]:
    values = {tensor.name: tensor for tensor in graph.initializer}
    for other in graph.node:
        if other.op_type == "Constant" and other.attribute:
            values[other.output[0]] = other.attribute[0].t
    switch = values.get(node.input[2])
    if switch is not None and not onnx.numpy_helper.to_array(switch).any():
        return []
    return [f"{name} drops values at random"]


def attribute(node: NodeProto, name: str) -> Any:
    """The value of an operator's attribute, None if it has none of that name."""
    for given in node.attribute:
        if given.name == name:
            return onnx.helper.get_attribute_value(given)
    return None


def _location(tensor: TensorProto) -> str:
    return next((e.value for e in tensor.external_data if e.key == "location"), "?")


def _messages(root: Any, kind: type[Any]) -> Iterator[Any]:
    """Finds all messages of a kind, in subgraphs, attributes and functions too."""
    if isinstance(root, kind):
        yield root
    if isinstance(root, TensorProto):
        return  # contains only data, possibly megabytes
    for field, value in root.ListFields():
        if field.message_type is None:
            continue
        for child in value if field.is_repeated else (value,):
            yield from _messages(child, kind)
