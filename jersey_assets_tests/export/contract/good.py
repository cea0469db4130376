"""Other ways to write the same model, all of which keep the contract."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import onnx.version_converter
import torch
from onnx import ModelProto, helper, numpy_helper

from jersey_assets.export.file_metadata import describe, to_properties
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets_tests.export.contract.broken.surgery import (
    after_logits,
    constant,
    node,
    set_shape,
    tensor,
)
from jersey_assets_tests.export.models import PROVENANCE, set_property

GOOD: dict[str, Callable[[ModelProto, Checkpoint], ModelProto]] = {}


def good(function):
    GOOD[function.__name__] = function
    return function


@good
def as_exported(model, checkpoint):
    return model


@good
def by_the_legacy_exporter(model, checkpoint):
    return by_torch(checkpoint, dynamo=False)


@good
def by_the_legacy_exporter_without_folding(model, checkpoint):
    return by_torch(checkpoint, dynamo=False, do_constant_folding=False)


@good
def by_the_legacy_exporter_at_an_old_opset(model, checkpoint):
    return by_torch(checkpoint, dynamo=False, opset_version=12)


@good
def without_the_exporters_optimizations(model, checkpoint):
    return by_torch(checkpoint, dynamo=True, optimize=False)


@good
def with_height_and_width_free(model, checkpoint):
    return by_torch(checkpoint, dynamo=True, free={0: "batch", 2: "h", 3: "w"})


@good
def with_another_symbol(model, checkpoint):
    set_shape(model.graph.input[0], "N", 3, 32, 32)
    set_shape(model.graph.output[0], "N", 11)
    return model


@good
def with_other_names_inside(model, checkpoint):
    kept = {"input", "logits"}
    for part in model.graph.node:
        part.name = f"step {part.name}"
        for names in (part.input, part.output):
            names[:] = [n if n in kept or not n else f"x/{n}" for n in names]
    for weights in model.graph.initializer:
        weights.name = f"x/{weights.name}"
    return model


@good
def with_more_metadata(model, checkpoint):
    for key in ("jersey.note", "author", "license"):
        set_property(model, key, "ours")
    model.doc_string, model.producer_name = "a model", "someone"
    return model


@good
def with_weights_as_constants(model, checkpoint):
    weights = [
        node("Constant", [], value.name, value=value)
        for value in model.graph.initializer
    ]
    del model.graph.initializer[:]
    nodes = [*weights, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@good
def with_weights_as_lists_of_floats(model, checkpoint):
    for value in model.graph.initializer:
        if value.data_type == onnx.TensorProto.FLOAT:
            numbers = numpy_helper.to_array(value).ravel().tolist()
            value.ClearField("raw_data")
            value.float_data.extend(numbers)
    return model


@good
def with_a_product_and_a_sum_for_the_head(model, checkpoint):
    last = next(n for n in model.graph.node if n.op_type == "Gemm")
    features, weights, bias = last.input
    last.CopyFrom(node("Transpose", [weights], "columns", perm=[1, 0]))
    model.graph.node.extend(
        [
            node("MatMul", [features, "columns"], "products"),
            node("Add", [bias, "products"], "logits"),
        ]
    )
    return model


@good
def with_a_convolution_for_the_head(model, checkpoint):
    last = next(n for n in model.graph.node if n.op_type == "Gemm")
    features, weights, bias = last.input
    tensor(model, weights).dims[:] = [11, 16, 1, 1]
    maps = constant(model, "maps", [-1, 16, 1, 1], np.int64)
    rows = constant(model, "rows", [-1, 11], np.int64)
    last.CopyFrom(node("Reshape", [features, maps], "pixel"))
    model.graph.node.extend(
        [
            node("Conv", ["pixel", weights, bias], "scores"),
            node("Reshape", ["scores", rows], "logits"),
        ]
    )
    return model


@good
def with_an_identity_and_dropout_at_the_end(model, checkpoint):
    share = constant(model, "share", 0.5)
    off = constant(model, "training", False, np.bool_)
    return after_logits(
        model,
        node("Identity", ["raw"], "same"),
        node("Dropout", ["same", share, off], "logits"),
    )


@good
def with_the_head_in_a_function(model, checkpoint):
    last = next(n for n in model.graph.node if n.op_type == "Gemm")
    inner = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    versions = [helper.make_opsetid("", 20)]
    function = helper.make_function(
        "ours", "Linear", ["x", "w", "b"], ["y"], [inner], versions
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("ours", 1))
    last.CopyFrom(node("Linear", list(last.input), "logits", domain="ours"))
    return model


@good
def with_a_newer_opset(model, checkpoint):
    return onnx.version_converter.convert_version(model, 22)


@good
def with_an_unused_domain(model, checkpoint):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


@good
def with_infinite_bounds_that_bound_nothing(model, checkpoint):
    first = model.graph.node[0]
    low = constant(model, "low", -np.inf)
    high = constant(model, "high", np.inf)
    output = first.output[0]
    first.output[0] = "unbounded"
    model.graph.node.insert(1, node("Clip", ["unbounded", low, high], output))
    return model


def by_torch(checkpoint, *, free=None, **options) -> ModelProto:
    """Exports by torch's own means, with the metadata that we add."""
    axes = free or {0: "batch"}
    options.setdefault("opset_version", 18)
    if options["dynamo"]:
        options["dynamic_shapes"] = ({k: torch.export.Dim(v) for k, v in axes.items()},)
        options["external_data"] = False
    else:
        options["dynamic_axes"] = {"input": axes, "logits": {0: "batch"}}
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            checkpoint.build_model(),
            (torch.zeros(2, 3, 32, 32),),
            stream,
            input_names=["input"],
            output_names=["logits"],
            verbose=False,
            **options,
        )
    model = ModelProto.FromString(stream.getvalue())
    helper.set_model_props(model, to_properties(describe(checkpoint), PROVENANCE))
    return model
