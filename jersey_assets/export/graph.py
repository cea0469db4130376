"""What can be read in an ONNX graph without running it.

`probe.py` asks these questions inside the child process, about files that nobody
trusts. Each answer is a list of faults in words; an empty one is good news.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx.checker
import onnx.inliner
import onnx.numpy_helper
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

# The oldest opset that onnxruntime guarantees; it refuses the too new by itself.
OLDEST_OPSET = 7
_STANDARD_DOMAINS = ("", "ai.onnx")
_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
# They move or requantize scores, or average them over places: unnormalised scores
# stay what they are.
_PASSES_SCORES = {
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "DequantizeLinear",
    "Dropout",
    "Flatten",
    "Gather",
    "GlobalAveragePool",
    "Identity",
    "QuantizeLinear",
    "ReduceMean",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
_LINEAR = {"Gemm", "MatMul", "Conv"}
_AFFINE = {"Add", "Sub", "Mul", "Div"}
_NORMALIZING = {"Softmax", "LogSoftmax", "Hardmax"}
# As a hidden layer's activation it is as good as others; between classes it is not.
_SQUASHING = {"Sigmoid", "HardSigmoid", "Exp"}


def find_external_data(model: ModelProto) -> list[str]:
    """Names tensors whose values are outside the file."""
    return [
        f'tensor "{tensor.name}" lies outside the file, at '
        f'"{_location(tensor)}": export with external_data=False'
        for tensor in _messages(model, TensorProto)
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data
    ]


def find_foreign_operators(model: ModelProto) -> list[str]:
    """Names operators that are neither ONNX's own nor functions in the model."""
    known = {(function.domain, function.name) for function in model.functions}
    foreign = {
        f"{node.domain}.{node.op_type}"
        for node in _messages(model, NodeProto)
        if node.domain not in _STANDARD_DOMAINS
        and (node.domain, node.op_type) not in known
    }
    return [f"operator {name} is not one of ONNX's own" for name in sorted(foreign)]


def find_training_operators(model: ModelProto) -> list[str]:
    """Names operators that behave as in training: batch statistics, randomness."""
    faults = []
    for node in _messages(model, NodeProto):
        name = f'{node.op_type} "{node.name}"'
        if node.op_type in _RANDOM:
            faults.append(f"{name} draws random numbers")
        elif node.op_type == "BatchNormalization" and _attribute(node, "training_mode"):
            faults.append(f"{name} normalizes with the statistics of the batch")
        elif node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            faults += _training_dropout(model.graph, node, name)
    return faults


def find_bad_weights(model: ModelProto) -> list[str]:
    """Names float weights that are NaN or infinite; scalars may bound a range."""
    faults = []
    for tensor in _messages(model, TensorProto):
        if tensor.data_type not in (
            TensorProto.FLOAT,
            TensorProto.DOUBLE,
            TensorProto.FLOAT16,
        ):
            continue
        values = onnx.numpy_helper.to_array(tensor)
        bad = int(values.size - np.isfinite(values).sum())
        if bad and values.size > 1:
            faults.append(f'weights "{tensor.name}": {bad} of {values.size} not finite')
    return faults


def int8_share(model: ModelProto) -> float:
    """The share of the weights' values, 0..1, that have 8 bits.

    Biases are left out, and what no operator reads.
    """
    sizes = {True: 0, False: 0}
    read = {name for node in _messages(model, NodeProto) for name in node.input}
    for tensor in _messages(model, TensorProto):
        if len(tensor.dims) > 1 and (not tensor.name or tensor.name in read):
            eight = tensor.data_type in (TensorProto.INT8, TensorProto.UINT8)
            sizes[eight] += math.prod(tensor.dims)
    return sizes[True] / max(sum(sizes.values()), 1)


def opset(model: ModelProto) -> int:
    """Version of the standard operators, 0 where there is not one."""
    versions = [o.version for o in model.opset_import if o.domain in _STANDARD_DOMAINS]
    return versions[0] if len(versions) == 1 else 0


def find_wrong_opset(model: ModelProto) -> list[str]:
    """Says where the standard operators' version is older than guaranteed."""
    version = opset(model)
    if version < OLDEST_OPSET:
        found = f"opset {version}" if version else "no opset, or two of them"
        return [f"{found}; onnxruntime guarantees {OLDEST_OPSET} and later"]
    return []


def find_score_faults(model: ModelProto) -> list[str]:
    """Says where the output is not what a linear layer gives.

    Walks from the output to its source: past operators that only move scores, or add
    and multiply constants, there must be a linear layer with constant weights, and no
    normalization right before it. A square layer may pass on what it is given, class
    for class: what counts is what comes before it.
    """
    graph = onnx.inliner.inline_local_functions(model).graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = _constants(graph)
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    name, linear, square = graph.output[0].name, False, False
    for _ in range(len(graph.node) + 1):
        node = makers.get(name)
        operator = node.op_type if node else "the input"
        if node is None and linear:
            return []  # quantization hides the ReLUs in its roundings
        squashes = square and not linear and operator in _SQUASHING
        if (
            node is None
            or squashes
            or ((linear or square) and _normalizes(node, makers))
        ):
            return [f"the scores come from {operator}, not from a linear layer"]
        varying = [i for i, v in enumerate(node.input) if v and v not in constants]
        if operator in _PASSES_SCORES and not _rounds(node):
            name = node.input[0]
        elif operator in _AFFINE | _LINEAR and len(varying) == 1:
            name = node.input[varying[0]]
            if operator in _LINEAR:
                passes_on = any(_is_square(weights.get(v, ())) for v in node.input)
                linear, square = linear or not passes_on, square or passes_on
        elif linear:
            return []
        elif square and len(varying) == 1:
            name = node.input[varying[0]]
        elif square and operator != "Div":
            return []
        else:
            return [
                f"the last operator that computes is {operator}, not a linear layer"
            ]
    return ["the graph runs in a circle"]


def _normalizes(node: NodeProto, makers: dict[str, NodeProto]) -> bool:
    """Whether it makes probabilities, also written out as a quotient."""
    if node.op_type == "Div":
        maker = makers.get(node.input[0])
        return maker is not None and maker.op_type == "Exp"
    return node.op_type in _NORMALIZING


def _rounds(node: NodeProto) -> bool:
    floats = (
        *(TensorProto.FLOAT, TensorProto.DOUBLE),
        *(TensorProto.FLOAT16, TensorProto.BFLOAT16),
    )
    return node.op_type == "Cast" and _attribute(node, "to") not in floats


def _is_square(dims: tuple[int, ...]) -> bool:
    return len(dims) > 1 and dims[0] == dims[1] > 1


def _constants(graph: GraphProto) -> set[str]:
    """Names of values that do not depend on the input."""
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in _RANDOM and all(
            name in constants for name in node.input if name
        ):
            constants.update(node.output)
    return constants


def _training_dropout(graph: GraphProto, node: NodeProto, name: str) -> list[str]:
    values = {tensor.name: tensor for tensor in graph.initializer}
    for other in graph.node:
        if other.op_type == "Constant" and other.attribute:
            values[other.output[0]] = other.attribute[0].t
    switch = values.get(node.input[2])
    if switch is not None and not onnx.numpy_helper.to_array(switch).any():
        return []
    return [f"{name} drops values at random"]


def _attribute(node: NodeProto, name: str) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return None


def _location(tensor: TensorProto) -> str:
    return next((e.value for e in tensor.external_data if e.key == "location"), "?")


def _messages(root: Any, kind: type[Any]) -> Iterator[Any]:
    """Finds all messages of a kind, in subgraphs, attributes and functions too."""
    if isinstance(root, kind):
        yield root
    if isinstance(root, TensorProto):
        return  # nothing inside but megabytes
    for field, value in root.ListFields():
        if field.message_type is None:
            continue
        for child in value if field.is_repeated else (value,):
            yield from _messages(child, kind)
