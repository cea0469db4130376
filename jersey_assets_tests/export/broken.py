"""Ways to break the small model, each a function from its graph to a file's bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from jersey_assets.export.onnx_model import export_onnx
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets_tests.export.conftest import LABELS, PROVENANCE, set_property


def node(operator: str, inputs: list[str], output: str, **attributes) -> NodeProto:
    return helper.make_node(operator, inputs, [output], name=output, **attributes)


def constant(model: ModelProto, name: str, value, dtype=np.float32) -> str:
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


def change(model: ModelProto, name: str, function) -> ModelProto:
    """Replaces an initializer by a function of it."""
    found = tensor(model, name)
    value = function(numpy_helper.to_array(found).copy())
    found.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    return model


def find(model: ModelProto, operator: str) -> NodeProto:
    return next(n for n in model.graph.node if n.op_type == operator)


@dataclass(frozen=True)
class Broken:
    """A model that breaks a promise.

    Attributes:
        make: gives the file's bytes from the good graph and its checkpoint.
        breaks: the promise that must fail.
        says: part of the message.
        keeps: promises that must still hold: breaking one is not breaking all.
        labels: the class mapping that the model is checked against.
    """

    make: Callable[[ModelProto, Checkpoint], bytes]
    breaks: str
    says: str
    keeps: frozenset[str] = frozenset()
    labels: Mapping[str, int] | None = None


BROKEN: dict[str, Broken] = {}
GRAPH, LOGITS, BATCH, WEIGHTS, MAPPING = (
    "graph_is_valid",
    "output_is_logits",
    "batch_axis_is_dynamic",
    "weights_match_checkpoint",
    "labels_match_class_mapping",
)


def broken(breaks: str, says: str, *keeps: str, labels=None):
    """Lists a function as a way to break the model."""

    def add(function):
        def make(model: ModelProto, checkpoint: Checkpoint) -> bytes:
            if len(signature(function).parameters) == 2:
                result = function(model, checkpoint)
            else:
                result = function(model)
            return result if isinstance(result, bytes) else result.SerializeToString()

        BROKEN[function.__name__] = Broken(make, breaks, says, frozenset(keeps), labels)
        return function

    return add


# Scores that are no logits


@broken(LOGITS, "softmax", GRAPH, BATCH, MAPPING)
def softmax_behind_the_name_logits(model):
    return after_logits(model, node("Softmax", ["raw"], "logits", axis=1))


@broken(LOGITS, "log_softmax", GRAPH, BATCH, MAPPING)
def log_softmax(model):
    return after_logits(model, node("LogSoftmax", ["raw"], "logits", axis=1))


@broken(LOGITS, "sigmoid", GRAPH, BATCH, MAPPING)
def sigmoid(model):
    return after_logits(model, node("Sigmoid", ["raw"], "logits"))


@broken(LOGITS, "NaN", BATCH, MAPPING)
def nan_weights(model):
    return change(model, "8.weight", lambda w: np.full_like(w, np.nan))


# A batch axis in name only


@broken(BATCH, "a batch of 2 fails", MAPPING)
def batch_fixed_inside(model):
    shape = constant(model, "fixed", [1, 11], np.int64)
    return after_logits(model, node("Reshape", ["raw", shape], "logits"))


@broken(GRAPH, "statistics of the batch", MAPPING)
def batch_norm_in_training_mode(model):
    return batch_norm_first(model, training_mode=1)


@broken(BATCH, "depend on neighbours", GRAPH, LOGITS, MAPPING)
def crops_minus_the_mean_of_the_batch(model):
    axes = constant(model, "first_axis", [0], np.int64)
    return before_input(
        model,
        node("ReduceMean", ["input", axes], "batch_mean"),
        node("Sub", ["input", "batch_mean"], "prepared"),
    )


def batch_norm_first(model, **attributes):
    names = [constant(model, f"bn{i}", [v] * 3) for i, v in enumerate((1, 0, 0, 1))]
    first = helper.make_node(
        "BatchNormalization",
        ["input", *names],
        ["prepared", "mean_out", "var_out"] if attributes else ["prepared"],
        **attributes,
    )
    return before_input(model, first)


# Other weights than the checkpoint's


@broken(WEIGHTS, "before averaging", GRAPH, LOGITS, BATCH, MAPPING)
def raw_weights(model, checkpoint):
    swapped = replace(
        checkpoint,
        state_dict=checkpoint.raw_state_dict,
        raw_state_dict=checkpoint.state_dict,
    )
    with TemporaryDirectory() as folder:
        export_onnx(swapped, Path(folder), PROVENANCE)
        return (Path(folder) / "model.onnx").read_bytes()


# Labels that belong to other classes


@broken(MAPPING, "'' is class 10 in the model, 0 there", GRAPH, LOGITS, BATCH, WEIGHTS)
def labels_reversed(model):
    set_property(model, "jersey.labels", list(reversed(LABELS)))
    return model


# Files that are not whole


@broken(GRAPH, "outside the file")
def external_data(model):
    found = tensor(model, "8.weight")
    onnx.external_data_helper.set_external_data(found, "weights.bin")
    found.ClearField("raw_data")
    return model


@broken(GRAPH, "expected one float32 logits", LOGITS, BATCH, WEIGHTS, MAPPING)
def renamed_output(model):
    after_logits(model, node("Identity", ["raw"], "scores"))
    model.graph.output[0].name = "scores"
    return model
