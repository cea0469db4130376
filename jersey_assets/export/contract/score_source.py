"""Finds the operator that a graph's scores come from: a linear layer, or another."""

from __future__ import annotations

import onnx.inliner
from onnx import GraphProto, ModelProto, NodeProto

from jersey_assets.export.contract.onnx_graph import FLOATS, RANDOM, attribute

# They move or requantize scores, or average them over places: unnormalised scores
# remain unnormalised.
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
# Fine as a hidden layer's activation, but not between classes.
_SQUASHING = {"Sigmoid", "HardSigmoid", "Exp"}


def find_score_faults(model: ModelProto) -> list[str]:
    """Says why the output does not come from a linear layer.

    Walks from the output to its source: behind operators that only move scores, or add
    and multiply constants, there must be a linear layer with constant weights, and no
    normalization right before it. A square layer may just pass its input on, class by
    class, so the layer before it counts.
    """
    graph = onnx.inliner.inline_local_functions(model).graph
    walk, name = _Walk(graph), graph.output[0].name
    for _ in range(len(graph.node) + 1):
        node = walk.makers.get(name)
        if node is None and walk.linear:
            return []  # quantization hides the ReLUs in its rounding
        operator = node.op_type if node else "the input"
        if node is None or walk.normalizes(node):
            return [f"the scores come from {operator}, not from a linear layer"]
        before = walk.step(node)
        if before is not None:
            name = before
        elif walk.linear or (walk.square and operator != "Div"):
            return []
        else:
            return [
                f"the last operator that computes is {operator}, not a linear layer"
            ]
    return ["the graph has a cycle"]


class _Walk:
    """A walk from output to input, and the layers that it has passed.

    Attributes:
        makers: the operator that makes each value.
        linear: whether a linear layer that is not square was passed.
        square: whether a square one was passed.
    """

    def __init__(self, graph: GraphProto) -> None:
        self.makers = {name: node for node in graph.node for name in node.output}
        self.linear = self.square = False
        self._constants = _constants(graph)
        self._weights = {
            tensor.name: tuple(tensor.dims) for tensor in graph.initializer
        }

    def normalizes(self, node: NodeProto) -> bool:
        """Whether it turns scores into probabilities before the layers passed."""
        if self.square and not self.linear and node.op_type in _SQUASHING:
            return True
        if not (self.linear or self.square):
            return False
        if node.op_type == "Div":  # softmax written as a quotient
            maker = self.makers.get(node.input[0])
            return maker is not None and maker.op_type == "Exp"
        return node.op_type in _NORMALIZING

    def step(self, node: NodeProto) -> str | None:
        """Passes an operator; returns the value before it, None if that is unclear."""
        if node.op_type in _PASSES_SCORES and not _rounds(node):
            return str(node.input[0])
        varying = [v for v in node.input if v and v not in self._constants]
        if len(varying) != 1:
            return None
        if node.op_type in _LINEAR:
            passes_on = any(_is_square(self._weights.get(v, ())) for v in node.input)
            self.linear |= not passes_on
            self.square |= passes_on
        elif node.op_type not in _AFFINE and (self.linear or not self.square):
            return None
        return str(varying[0])


def _rounds(node: NodeProto) -> bool:
    return node.op_type == "Cast" and attribute(node, "to") not in FLOATS


def _is_square(dims: tuple[int, ...]) -> bool:
    return len(dims) > 1 and dims[0] == dims[1] > 1


def _constants(graph: GraphProto) -> set[str]:
    """Names of values that do not depend on the input."""
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in RANDOM and all(
            name in constants for name in node.input if name
        ):
            constants.update(node.output)
    return constants
