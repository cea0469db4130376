"""Outputs that are called logits and are none."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from jersey_assets_tests.export.contract.broken.surgery import (
    BATCH,
    GRAPH,
    LOGITS,
    MAPPING,
    after_logits,
    before_input,
    broken,
    change,
    constant,
    node,
    set_shape,
)

REST = (GRAPH, BATCH, MAPPING)


@broken(LOGITS, "softmax probabilities", *REST)
def softmax(model):
    return after_logits(model, node("Softmax", ["raw"], "logits", axis=1))


@broken(LOGITS, "softmax probabilities", *REST)
def softmax_behind_an_identity(model):
    return after_logits(
        model,
        node("Softmax", ["raw"], "chances", axis=1),
        node("Identity", ["chances"], "logits"),
    )


@broken(LOGITS, "softmax probabilities", *REST)
def softmax_written_out(model):
    axes = constant(model, "class_axis", [1], np.int64)
    return after_logits(
        model,
        node("Exp", ["raw"], "powers"),
        node("ReduceSum", ["powers", axes], "total"),
        node("Div", ["powers", "total"], "logits"),
    )


@broken(LOGITS, "softmax probabilities", *REST)
def softmax_before_a_linear_layer(model):
    eye = constant(model, "eye", np.eye(11))
    return after_logits(
        model,
        node("Softmax", ["raw"], "chances", axis=1),
        node("MatMul", ["chances", eye], "logits"),
    )


@broken(LOGITS, "come from Softmax", *REST)
def scaled_softmax_before_a_linear_layer(model):
    weights = constant(model, "scaled_eye", 40 * np.eye(11) - 3)
    return after_logits(
        model,
        node("Softmax", ["raw"], "chances", axis=1),
        node("MatMul", ["chances", weights], "logits"),
    )


@broken(LOGITS, "is Softmax, not a linear layer", *REST)
def softmax_in_percent_around_zero(model):
    return after_logits(
        model,
        node("Softmax", ["raw"], "chances", axis=1),
        node("Mul", ["chances", constant(model, "hundred", 100)], "percent"),
        node("Sub", ["percent", constant(model, "fifty", 50)], "logits"),
    )


@broken(LOGITS, "softmax probabilities", *REST)
def softmax_of_a_temperature(model):
    return after_logits(
        model,
        node("Div", ["raw", constant(model, "temperature", 4)], "cool"),
        node("Softmax", ["cool"], "logits", axis=1),
    )


@broken(GRAPH, "operator If chooses at run time")
def softmax_inside_a_branch(model):
    branches = {}
    for name, operator in (("then_branch", "Softmax"), ("else_branch", "Identity")):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        inner = helper.make_node(operator, ["raw"], [name])
        branches[name] = helper.make_graph([inner], name, [], [out])
    switch = constant(model, "switch", True, np.bool_)
    return after_logits(model, helper.make_node("If", [switch], ["logits"], **branches))


@broken(LOGITS, "softmax probabilities", *REST)
def softmax_inside_a_function(model):
    inner = helper.make_node("Softmax", ["scores"], ["chances"], axis=1)
    version = helper.make_opsetid("", 20)
    function = helper.make_function(
        "ours", "Linear", ["scores"], ["chances"], [inner], [version]
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("ours", 1))
    return after_logits(model, node("Linear", ["raw"], "logits", domain="ours"))


@broken(LOGITS, "log-probabilities", *REST)
def log_softmax(model):
    return after_logits(model, node("LogSoftmax", ["raw"], "logits", axis=1))


@broken(LOGITS, "log-probabilities", *REST)
def log_softmax_written_out(model):
    axes = constant(model, "class_axis", [1], np.int64)
    return after_logits(
        model,
        node("ReduceLogSumExp", ["raw", axes], "total"),
        node("Sub", ["raw", "total"], "logits"),
    )


@broken(LOGITS, "log-probabilities", *REST)
def logarithm_of_softmax(model):
    return after_logits(
        model,
        node("Softmax", ["raw"], "chances", axis=1),
        node("Log", ["chances"], "logits"),
    )


@broken(LOGITS, "is LogSoftmax, not a linear layer", *REST)
def log_softmax_shifted_by_a_constant(model):
    return after_logits(
        model,
        node("LogSoftmax", ["raw"], "log_chances", axis=1),
        node("Add", ["log_chances", constant(model, "shift", 2.5)], "logits"),
    )


@broken(LOGITS, "sigmoid probabilities", *REST)
def sigmoid(model):
    return after_logits(model, node("Sigmoid", ["raw"], "logits"))


@broken(LOGITS, "is Sigmoid, not a linear layer", *REST)
def sigmoid_around_zero(model):
    return after_logits(
        model,
        node("Sigmoid", ["raw"], "chances"),
        node("Sub", ["chances", constant(model, "half", 0.5)], "logits"),
    )


@broken(LOGITS, "log_sigmoid of the checkpoint's logits", *REST)
def log_sigmoid(model):
    return after_logits(
        model,
        node("Neg", ["raw"], "negative"),
        node("Softplus", ["negative"], "soft"),
        node("Neg", ["soft"], "logits"),
    )


@broken(LOGITS, "tanh of the checkpoint's logits", *REST)
def tanh(model):
    return after_logits(model, node("Tanh", ["raw"], "logits"))


@broken(LOGITS, "relu of the checkpoint's logits", *REST)
def negative_scores_cut_off(model):
    return after_logits(model, node("Relu", ["raw"], "logits"))


@broken(LOGITS, "is Clip, not a linear layer", *REST)
def scores_clipped(model):
    low, high = constant(model, "low", -0.1), constant(model, "high", 0.1)
    return after_logits(model, node("Clip", ["raw", low, high], "logits"))


@broken(LOGITS, "is Hardmax, not a linear layer", GRAPH, BATCH, MAPPING)
def one_at_the_best_class(model):
    return after_logits(model, node("Hardmax", ["raw"], "logits", axis=1))


@broken(LOGITS, "is Sub, not a linear layer", *REST)
def scores_below_the_best(model):
    axes = constant(model, "class_axis", [1], np.int64)
    return after_logits(
        model,
        node("ReduceMax", ["raw", axes], "best"),
        node("Sub", ["raw", "best"], "logits"),
    )


@broken(LOGITS, "is LpNormalization, not a linear layer", *REST)
def scores_of_length_one(model):
    return after_logits(model, node("LpNormalization", ["raw"], "logits", axis=1, p=2))


@broken(LOGITS, "the image is not used", *REST)
def the_same_scores_for_every_image(model):
    return change(model, "8.weight", np.zeros_like)


@broken(GRAPH, "11 of 11 not finite", BATCH, MAPPING)
def infinite_bias(model):
    return change(model, "8.bias", lambda b: np.full_like(b, np.inf))


@broken(LOGITS, "scores are NaN or infinite", MAPPING)
def nan_weights(model):
    return change(model, "8.weight", lambda w: np.full_like(w, np.nan))


@broken(LOGITS, "scores are NaN or infinite", GRAPH, MAPPING)
def scores_that_overflow(model):
    big = constant(model, "big", 3e38)
    return after_logits(
        model,
        node("Mul", ["raw", big], "huge"),
        node("Mul", ["huge", big], "logits"),
    )


@broken(LOGITS, "bad input is hidden", *REST)
def nan_input_made_black(model):
    return before_input(
        model,
        node("IsNaN", ["input"], "bad"),
        node("Where", ["bad", constant(model, "black", -2), "input"], "prepared"),
    )


@broken(GRAPH, "tensor(double) logits", MAPPING)
def scores_in_double_precision(model):
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return after_logits(model, node("Cast", ["raw"], "logits", to=TensorProto.DOUBLE))


@broken(LOGITS, "expected float32 [64, n]")
def class_numbers_instead_of_scores(model):
    set_shape(model.graph.output[0], "batch", 1)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return after_logits(model, node("ArgMax", ["raw"], "logits", axis=1, keepdims=1))


@broken(LOGITS, "come from Div", *REST)
def softmax_written_out_and_scaled(model):
    axes = constant(model, "class_axis", [1], np.int64)
    scale = constant(model, "scale", 100 * np.eye(11))
    middle = constant(model, "middle", 50)
    return after_logits(
        model,
        node("Exp", ["raw"], "powers"),
        node("ReduceSum", ["powers", axes], "total"),
        node("Div", ["powers", "total"], "chances"),
        node("MatMul", ["chances", scale], "scaled"),
        node("Sub", ["scaled", middle], "logits"),
    )


@broken(LOGITS, "come from Softmax", *REST)
def softmax_behind_a_relu_and_a_square_layer(model):
    weights = constant(model, "scaled_eye", 40 * np.eye(11) - 3)
    return after_logits(
        model,
        node("Softmax", ["raw"], "chances", axis=1),
        node("Relu", ["chances"], "positive"),
        node("MatMul", ["positive", weights], "logits"),
    )


@broken(LOGITS, "come from Sigmoid", *REST)
def sigmoid_before_a_square_layer(model):
    weights = constant(model, "scaled_eye", 40 * np.eye(11) - 3)
    return after_logits(
        model,
        node("Sigmoid", ["raw"], "chances"),
        node("MatMul", ["chances", weights], "logits"),
    )


@broken(LOGITS, "the last operator that computes is Cast", *REST)
def scores_rounded_to_whole_numbers(model):
    scale = constant(model, "scale", 10)
    return after_logits(
        model,
        node("Mul", ["raw", scale], "scaled"),
        node("Cast", ["scaled"], "whole", to=TensorProto.INT32),
        node("Cast", ["whole"], "logits", to=TensorProto.FLOAT),
    )


@broken(LOGITS, "of shape (64, 0)")
def no_scores(model):
    starts, ends = (constant(model, name, [0], np.int64) for name in ("from", "to"))
    axes = constant(model, "class_axis", [1], np.int64)
    set_shape(model.graph.output[0], "batch", 0)
    return after_logits(model, node("Slice", ["raw", starts, ends, axes], "logits"))
