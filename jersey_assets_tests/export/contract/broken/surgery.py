"""Tools to change an ONNX graph, and the list of broken models made with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from jersey_assets.training.checkpoint import Checkpoint

GRAPH, LOGITS, BATCH, WEIGHTS, MAPPING = (
    "graph_is_valid",
    "output_is_logits",
    "batch_axis_is_dynamic",
    "weights_match_checkpoint",
    "labels_match_class_mapping",
)


@dataclass(frozen=True)
class Broken:
    """A model that breaks a promise.

    Attributes:
        make: gives the file's bytes from the good graph and its checkpoint.
        breaks: the promise that must fail.
        says: part of the message.
        keeps: promises that must still hold: breaking one is not breaking all.
        labels: the class mapping that the model is checked against.
        sidecar: content of the `labels_mapping.json` beside it.
    """

    make: Callable[[ModelProto, Checkpoint], bytes]
    breaks: str
    says: str
    keeps: frozenset[str]
    labels: Mapping[str, Any] | None
    sidecar: str | None


BROKEN: dict[str, Broken] = {}


def broken(breaks: str, says: str, *keeps: str, labels=None, sidecar=None):
    """Lists a function from model (and checkpoint) to a model or bytes."""

    def add(function):
        def make(model: ModelProto, checkpoint: Checkpoint) -> bytes:
            wanted = (model, checkpoint)[: len(signature(function).parameters)]
            result = function(*wanted)
            return result if isinstance(result, bytes) else result.SerializeToString()

        case = Broken(make, breaks, says, frozenset(keeps), labels, sidecar)
        BROKEN[function.__name__] = case
        return function

    return add


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], name=output, **attributes)


def constant(model: ModelProto, name: str, value: Any, dtype: Any = np.float32) -> str:
    """Adds an initializer and gives its name."""
    tensor = numpy_helper.from_array(np.asarray(value, dtype), name)
    model.graph.initializer.append(tensor)
    return name


def after_logits(model: ModelProto, *nodes: NodeProto) -> ModelProto:
    """Lets nodes from `raw` to `logits` follow the model's own output."""
    for existing in model.graph.node:
        for names in (existing.input, existing.output):
            for index, name in enumerate(names):
                if name == "logits":
                    names[index] = "raw"
    model.graph.node.extend(nodes)
    return model


def before_input(model: ModelProto, *nodes: NodeProto) -> ModelProto:
    """Lets nodes from `input` to `prepared` come before the model."""
    for existing in model.graph.node:
        for index, name in enumerate(existing.input):
            if name == "input":
                existing.input[index] = "prepared"
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])
    return model


def tensor(model: ModelProto, name: str) -> TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def change(model: ModelProto, name: str, function: Callable[[Any], Any]) -> ModelProto:
    """Replaces an initializer by a function of it."""
    found = tensor(model, name)
    value = function(numpy_helper.to_array(found).copy())
    found.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    return model


def set_shape(value: Any, *dims: int | str) -> None:
    """Declares a graph input's or output's shape."""
    shape = value.type.tensor_type.shape
    shape.ClearField("dim")
    for dim in dims:
        if isinstance(dim, str):
            shape.dim.add(dim_param=dim)
        else:
            shape.dim.add(dim_value=dim)
