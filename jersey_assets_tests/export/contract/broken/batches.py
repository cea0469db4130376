"""Batch axes in name only, and rows that depend on their neighbours."""

from __future__ import annotations

import numpy as np
from onnx import helper

from jersey_assets_tests.export.contract.broken.surgery import (
    BATCH,
    GRAPH,
    LOGITS,
    MAPPING,
    after_logits,
    before_input,
    broken,
    constant,
    node,
    set_shape,
)

NEIGHBOURS = "depend on other rows"


@broken(BATCH, "it fails at batches of 64, batches of ", LOGITS, MAPPING)
def fixed_at_one_inside(model):
    shape = constant(model, "fixed", [1, 11], np.int64)
    return after_logits(model, node("Reshape", ["raw", shape], "logits"))


@broken(BATCH, "batches of 5, batches of 3, batches of 1", MAPPING)
def fixed_at_two_inside(model):
    pair = constant(model, "pair", [-1, 2, 11], np.int64)
    rows = constant(model, "rows", [-1, 11], np.int64)
    return after_logits(
        model,
        node("Reshape", ["raw", pair], "paired"),
        node("Reshape", ["paired", rows], "logits"),
    )


@broken(BATCH, "declared as [1]", MAPPING)
def fixed_at_one_and_declared_so(model):
    set_shape(model.graph.input[0], 1, 3, 32, 32)
    set_shape(model.graph.output[0], 1, 11)
    return model


@broken(BATCH, "expected one symbol for both", GRAPH, LOGITS, MAPPING)
def two_symbols(model):
    set_shape(model.graph.output[0], "rows", 11)
    return model


@broken(BATCH, "expected one symbol for both", GRAPH, LOGITS, MAPPING)
def no_symbol(model):
    set_shape(model.graph.input[0], "", 3, 32, 32)
    set_shape(model.graph.output[0], "", 11)
    return model


@broken(BATCH, "gave an answer of shape (1, 11)", MAPPING)
def only_the_first_row(model):
    names = [
        constant(model, name, [value], np.int64)
        for name, value in (("from", 0), ("to", 1), ("along", 0))
    ]
    return after_logits(model, node("Slice", ["raw", *names], "logits"))


@broken(BATCH, NEIGHBOURS, MAPPING)
def the_first_row_for_all(model):
    zero = constant(model, "zero", [0], np.int64)
    return after_logits(
        model,
        node("Gather", ["raw", zero], "first", axis=0),
        node("Shape", ["raw"], "shape"),
        node("Expand", ["first", "shape"], "logits"),
    )


@broken(BATCH, "(11,)", MAPPING)
def the_best_row_only(model):
    axes = constant(model, "first_axis", [0], np.int64)
    set_shape(model.graph.output[0], 11)
    return after_logits(model, node("ReduceMax", ["raw", axes], "logits", keepdims=0))


@broken(BATCH, "gave an answer of shape ()")
def one_number(model):
    set_shape(model.graph.output[0])
    return after_logits(model, node("ReduceMax", ["raw"], "logits", keepdims=0))


@broken(BATCH, NEIGHBOURS, GRAPH, LOGITS, MAPPING)
def crops_minus_the_mean_of_the_batch(model):
    axes = constant(model, "first_axis", [0], np.int64)
    return before_input(
        model,
        node("ReduceMean", ["input", axes], "batch_mean"),
        node("Sub", ["input", "batch_mean"], "prepared"),
    )


@broken(BATCH, NEIGHBOURS, GRAPH, LOGITS, MAPPING)
def crops_over_the_peak_of_the_batch(model):
    return before_input(
        model,
        node("Abs", ["input"], "sizes"),
        node("ReduceMax", ["sizes"], "peak", keepdims=0),
        node("Div", ["input", "peak"], "prepared"),
    )


@broken(BATCH, NEIGHBOURS, MAPPING)
def softmax_over_the_batch(model):
    return after_logits(model, node("Softmax", ["raw"], "logits", axis=0))


@broken(BATCH, NEIGHBOURS, GRAPH, MAPPING)
def rows_in_reverse_order(model):
    names = [
        constant(model, name, [value], np.int64)
        for name, value in (("from", -1), ("to", -(2**31)), ("along", 0), ("by", -1))
    ]
    return after_logits(model, node("Slice", ["raw", *names], "logits"))


@broken(BATCH, NEIGHBOURS, GRAPH, MAPPING)
def rows_added_up(model):
    axis = constant(model, "first_axis", 0, np.int64)
    return after_logits(model, node("CumSum", ["raw", axis], "logits"))


@broken(BATCH, NEIGHBOURS, GRAPH, MAPPING)
def rows_sorted(model):
    return after_logits(
        model,
        node("Shape", ["raw"], "count", end=1),
        helper.make_node("TopK", ["raw", "count"], ["logits", "order"], axis=0),
    )


@broken(BATCH, NEIGHBOURS, GRAPH, MAPPING)
def scores_that_grow_with_the_batch(model):
    return after_logits(
        model,
        node("Shape", ["raw"], "count", end=1),
        node("Cast", ["count"], "rows", to=1),
        node("Mul", ["raw", "rows"], "logits"),
    )


@broken(BATCH, "beside rows of NaN", GRAPH, MAPPING)
def a_bad_neighbour_spoils_the_batch(model):
    zero = constant(model, "nothing", 0)
    return after_logits(
        model,
        node("ReduceSum", ["input"], "sum", keepdims=0),
        node("Mul", ["sum", zero], "nothing_or_nan"),
        node("Add", ["raw", "nothing_or_nan"], "logits"),
    )


@broken(BATCH, NEIGHBOURS, LOGITS, MAPPING)
def batch_norm_in_training_mode(model):
    return before_input(model, batch_norm(model, training_mode=1))


@broken(GRAPH, "statistics of the batch", LOGITS, MAPPING)
def batch_norm_in_training_mode_named(model):
    return before_input(model, batch_norm(model, training_mode=1))


@broken(BATCH, NEIGHBOURS, GRAPH, MAPPING)
def quantized_with_the_range_of_the_batch(model):
    names = ["small", "scale", "zero_point"]
    return before_input(
        model,
        helper.make_node("DynamicQuantizeLinear", ["input"], names),
        helper.make_node("DequantizeLinear", names, ["prepared"]),
    )


@broken(BATCH, "64 crops gave an answer of shape (11, 64)", MAPPING)
def classes_first(model):
    set_shape(model.graph.output[0], 11, "batch")
    return after_logits(model, node("Transpose", ["raw"], "logits", perm=[1, 0]))


@broken(GRAPH, "expected one float32 logits", MAPPING)
def one_axis_too_many(model):
    axes = constant(model, "middle", [1], np.int64)
    set_shape(model.graph.output[0], "batch", 1, 11)
    return after_logits(model, node("Unsqueeze", ["raw", axes], "logits"))


@broken(BATCH, "it fails at batches of 64, ", GRAPH)
def small_batches_only(model):
    # Fails from 8 crops on: a look-up table that is one entry too short.
    table = constant(model, "table", np.zeros(8))
    one = constant(model, "one", 1, np.int64)
    return after_logits(
        model,
        node("Shape", ["raw"], "count", end=1),
        node("Gather", [table, "count"], "entry"),
        node("Add", ["raw", "entry"], "logits"),
        node("Identity", [one], "unused"),
    )


def batch_norm(model, **attributes):
    names = [constant(model, f"bn{i}", [v] * 3) for i, v in enumerate((1, 0, 0, 1))]
    outputs = ["prepared", "mean_out", "variance_out"]
    return helper.make_node(
        "BatchNormalization", ["input", *names], outputs, **attributes
    )
