"""Models made to pass: right where a check looks, wrong for pictures or runtimes."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from jersey_assets_tests.export.contract.broken.surgery import (
    BATCH,
    GRAPH,
    WEIGHTS,
    after_logits,
    broken,
    change,
    constant,
    node,
    tensor,
)

MEAN, STD = ([0.44, 0.42, 0.41], [0.25, 0.24, 0.23])
ORDER = [0, 2, 1, *range(3, 11)]


def where(model, condition, nodes, otherwise):
    """Answers otherwise where a condition holds."""
    return after_logits(
        model, *nodes, node("Where", [condition, otherwise, "raw"], "logits")
    )


def is_eight_bit(model):
    """Nodes that tell pictures of k / 255 from all other inputs, row by row."""
    mean = constant(model, "its_mean", np.reshape(MEAN, (3, 1, 1)))
    std = constant(model, "its_std", np.reshape(STD, (3, 1, 1)))
    scale = constant(model, "levels", 255)
    near = constant(model, "near", 1e-2)
    axes = constant(model, "pixels", [1, 2, 3], np.int64)
    flat = constant(model, "column", [-1, 1], np.int64)
    return [
        node("Mul", ["input", std], "scaled"),
        node("Add", ["scaled", mean], "unit"),
        node("Mul", ["unit", scale], "level"),
        node("Round", ["level"], "whole"),
        node("Sub", ["level", "whole"], "off"),
        node("Abs", ["off"], "distance"),
        node("ReduceMax", ["distance", axes], "farthest"),
        node("Less", ["farthest", near], "picture"),
        node("Reshape", ["picture", flat], "eight_bit"),
    ]


@broken(WEIGHTS, "from the checkpoint's averaged weights")
def wrong_on_every_picture(model):
    nodes = [*is_eight_bit(model), node("Neg", ["raw"], "wrong")]
    return where(model, "eight_bit", nodes, "wrong")


@broken(WEIGHTS, "the classes are not in the checkpoint's order")
def two_classes_swapped_on_every_picture(model):
    order = constant(model, "order", ORDER, np.int64)
    swapped = node("Gather", ["raw", order], "swapped", axis=1)
    return where(model, "eight_bit", [*is_eight_bit(model), swapped], "swapped")


def by_batch(model, operator, size):
    limit = constant(model, "limit", [size], np.int64)
    return where(
        model,
        "such_a_batch",
        [
            node("Shape", ["raw"], "count", end=1),
            node(operator, ["count", limit], "such_a_batch"),
            node("Neg", ["raw"], "wrong"),
        ],
        "wrong",
    )


@broken(BATCH, "rows change by")
def another_path_for_batches_over_17(model):
    return by_batch(model, "Greater", 17)


@broken(BATCH, "in batches of 4 instead")
def another_path_for_batches_of_4(model):
    return by_batch(model, "Equal", 4)


@broken(GRAPH, "com.microsoft.FusedGemm is in a domain of operators")
def a_function_named_as_a_runtimes_own_operator(model):
    inner = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    versions = [helper.make_opsetid("", 20)]
    function = helper.make_function(
        "com.microsoft", "FusedGemm", ["x", "w", "b"], ["y"], [inner], versions
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    last = next(n for n in model.graph.node if n.op_type == "Gemm")
    last.op_type, last.domain = "FusedGemm", "com.microsoft"
    return model


@broken(GRAPH, "Relu is in a domain of operators")
def a_function_named_as_a_standard_operator(model):
    inner = helper.make_node("Neg", ["x"], ["y"])
    versions = [helper.make_opsetid("", 20)]
    function = helper.make_function("", "Relu", ["x"], ["y"], [inner], versions)
    model.functions.append(function)
    return model


@broken(GRAPH, "a caller may replace them")
def weights_as_inputs_with_a_default(model):
    for value in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(value.name, value.data_type, value.dims)
        )
    return model


@broken(GRAPH, "occur 2 times")
def weights_that_stand_there_twice(model):
    model.graph.initializer.append(tensor(model, "8.bias"))
    return model


@broken(GRAPH, "bytes 4 to 8 are ORTM")
def a_file_with_the_mark_of_another_format(model):
    model.ir_version, model.producer_name = 10, "ORTM"
    return model


@broken(GRAPH, "field 100 in ModelProto")
def bytes_of_an_unknown_field(model):
    return model.SerializeToString() + b"\xa2\x06\x05weird"


@broken(GRAPH, "ModelProto.ir_version written twice")
def bytes_that_are_written_over(model):
    return model.SerializeToString() + bytes([8, model.ir_version])


@broken(GRAPH, "not an ONNX file")
def bytes_behind_the_end(model):
    return model.SerializeToString() + b"\x00\x00\x00\x00PK"


@broken(GRAPH, "operator Loop chooses")
def a_loop_of_one_turn(model):
    inputs = [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
    ]
    outputs = [
        helper.make_tensor_value_info("then", TensorProto.BOOL, []),
        helper.make_tensor_value_info("out", TensorProto.FLOAT, None),
    ]
    nodes = [
        helper.make_node("Identity", ["go_on"], ["then"]),
        helper.make_node("Identity", ["state"], ["out"]),
    ]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    one = constant(model, "one", 1, np.int64)
    yes = constant(model, "yes", True, np.bool_)
    return after_logits(
        model, helper.make_node("Loop", [one, yes, "raw"], ["logits"], body=body)
    )


@broken(WEIGHTS, 'weights "8.bias" differ')
def a_bias_that_the_answers_hide(model):
    """Takes back behind the head what it adds there."""
    change(model, "8.bias", lambda bias: bias + 1)
    return after_logits(
        model, node("Sub", ["raw", constant(model, "unit", 1)], "logits")
    )
