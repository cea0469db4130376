"""Files that are not whole, not self-contained, not ours, or hostile."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from jersey_assets_tests.export.contract.broken.surgery import (
    BATCH,
    GRAPH,
    LOGITS,
    MAPPING,
    WEIGHTS,
    after_logits,
    before_input,
    broken,
    change,
    constant,
    node,
    set_shape,
    tensor,
)
from jersey_assets_tests.export.models import set_property

REST = (LOGITS, BATCH, WEIGHTS, MAPPING)
OUTSIDE = "is stored outside the file"


@broken(GRAPH, "no opset, or two of them")
def empty_file(model):
    return b""


@broken(GRAPH, "not an ONNX file")
def garbage(model):
    return np.random.default_rng(0).bytes(10_000)


@broken(GRAPH, "not an ONNX file")
def a_picture(model):
    return b"\x89PNG\r\n\x1a\n" + bytes(1000)


@broken(GRAPH, "not an ONNX file")
def half_a_file(model):
    data = model.SerializeToString()
    return data[: len(data) // 2]


@broken(GRAPH, "")
def a_flipped_bit_in_every_kilobyte(model):
    data = bytearray(model.SerializeToString())
    for index in range(0, len(data), 1024):
        data[index] ^= 4
    return bytes(data)


@broken(GRAPH, OUTSIDE)
def weights_in_another_file(model):
    return moved_out(model, "weights.bin")


@broken(GRAPH, OUTSIDE)
def weights_in_a_folder_above(model):
    return moved_out(model, "../../etc/passwd")


@broken(GRAPH, OUTSIDE)
def weights_in_the_password_file(model):
    return moved_out(model, "/etc/passwd")


@broken(GRAPH, OUTSIDE)
def a_constant_in_another_file(model):
    value = helper.make_tensor("secret", TensorProto.FLOAT, [1], [0.0])
    outside(value, "/etc/passwd")
    return after_logits(
        model,
        node("Constant", [], "secret_value", value=value),
        node("Add", ["raw", "secret_value"], "logits"),
    )


@broken(GRAPH, OUTSIDE)
def a_constant_of_a_branch_in_another_file(model):
    value = helper.make_tensor("secret", TensorProto.FLOAT, [1], [0.0])
    outside(value, "../secret")
    out = helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)
    inner = [
        node("Constant", [], "secret_value", value=value),
        node("Add", ["raw", "secret_value"], "branch"),
    ]
    switch = constant(model, "switch", True, np.bool_)
    branch = helper.make_graph(inner, "branch", [], [out])
    return after_logits(
        model,
        node("If", [switch], "logits", then_branch=branch, else_branch=branch),
    )


@broken(GRAPH, "operator evil.Backdoor is not a standard ONNX operator")
def an_operator_of_someone_else(model):
    model.opset_import.append(helper.make_opsetid("evil", 1))
    return after_logits(model, node("Backdoor", ["raw"], "logits", domain="evil"))


@broken(GRAPH, "com.microsoft.FusedGemm is not a standard ONNX operator")
def an_operator_of_one_runtime_only(model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    last = next(n for n in model.graph.node if n.op_type == "Gemm")
    last.op_type, last.domain = "FusedGemm", "com.microsoft"
    return model


@broken(GRAPH, "operator evil.Backdoor is not a standard ONNX operator")
def an_operator_of_someone_else_in_a_function(model):
    inner = helper.make_node("Backdoor", ["x"], ["y"], domain="evil")
    versions = [helper.make_opsetid("evil", 1)]
    function = helper.make_function("ours", "Nice", ["x"], ["y"], [inner], versions)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("ours", 1))
    return after_logits(model, node("Nice", ["raw"], "logits", domain="ours"))


@broken(GRAPH, "onnx.checker")
def an_operator_that_does_not_exist(model):
    return after_logits(model, node("Sofmax", ["raw"], "logits"))


@broken(GRAPH, "official support for domain ai.onnx is till opset")
def an_opset_of_the_future(model):
    model.opset_import[0].version = 99
    return model


@broken(GRAPH, "opset 6; onnxruntime guarantees 7 and later")
def an_opset_of_the_past(model):
    model.opset_import[0].version = 6
    return model


@broken(GRAPH, "onnx.checker")
def no_opset(model):
    del model.opset_import[:]
    return model


@broken(GRAPH, "ir_version 99 is higher")
def a_format_of_the_future(model):
    model.ir_version = 99
    return model


@broken(GRAPH, "the metadata has")
def a_million_labels(model):
    set_property(model, "jersey.labels", [str(n) for n in range(1_000_000)])
    return model


@broken(LOGITS, "expected one float32 logits", BATCH, WEIGHTS, MAPPING)
def another_name_for_the_output(model):
    after_logits(model, node("Identity", ["raw"], "scores"))
    model.graph.output[0].name = "scores"
    return model


@broken(GRAPH, "expected one float32 input", *REST)
def another_name_for_the_input(model):
    before_input(model, node("Identity", ["images"], "prepared"))
    model.graph.input[0].name = "images"
    return model


@broken(GRAPH, "2 values; expected one float32 input")
def a_second_input(model):
    extra = helper.make_tensor_value_info("switch", TensorProto.FLOAT, [1])
    model.graph.input.append(extra)
    return after_logits(model, node("Add", ["raw", "switch"], "logits"))


@broken(GRAPH, "2 values; expected one float32 logits")
def a_second_output(model):
    extra = helper.make_tensor_value_info("chances", TensorProto.FLOAT, ["batch", 11])
    model.graph.output.append(extra)
    model.graph.node.append(node("Softmax", ["logits"], "chances", axis=1))
    return model


@broken(GRAPH, "tensor(float16) input")
def an_input_in_half_precision(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    return before_input(
        model, node("Cast", ["input"], "prepared", to=TensorProto.FLOAT)
    )


@broken(GRAPH, "expected one float32 input ['batch', 3, 'H', 'W']")
def an_input_with_channels_last(model):
    set_shape(model.graph.input[0], "batch", 32, 32, 3)
    return before_input(
        model, node("Transpose", ["input"], "prepared", perm=[0, 3, 1, 2])
    )


@broken(GRAPH, "expected one float32 input ['batch', 3, 'H', 'W']")
def a_grey_input(model):
    set_shape(model.graph.input[0], "batch", 1, 32, 32)
    return change(model, "0.weight", lambda w: w.sum(axis=1, keepdims=True))


@broken(
    GRAPH, "the metadata says 64 px, but the input is [32, 32]", LOGITS, BATCH, MAPPING
)
def another_size_in_the_metadata(model):
    set_property(model, "jersey.image_size", "64")
    return model


@broken(GRAPH, "jersey.resize is", LOGITS, BATCH)
def a_resize_that_nobody_knows(model):
    set_property(model, "jersey.resize", "nearest, cropped at the centre")
    return model


@broken(GRAPH, "jersey.decode is", LOGITS, BATCH)
def a_decoder_that_nobody_knows(model):
    set_property(model, "jersey.decode", "BGR, as OpenCV does")
    return model


@broken(GRAPH, "has no jersey.recipe_hash, jersey.run_id", LOGITS, BATCH, MAPPING)
def an_origin_that_is_not_told(model):
    set_property(model, "jersey.recipe_hash", "")
    set_property(model, "jersey.run_id", "")
    return model


@broken(GRAPH, "jersey.std is", LOGITS, BATCH)
def a_deviation_of_zero(model):
    set_property(model, "jersey.std", [0.2, 0.0, 0.2])
    return model


@broken(GRAPH, "onnx.checker")
def a_weight_that_is_missing(model):
    model.graph.initializer.remove(tensor(model, "8.bias"))
    return model


@broken(GRAPH, "onnx.checker")
def a_declared_shape_that_is_wrong(model):
    set_shape(model.graph.output[0], "batch", 7)
    return model


@broken(GRAPH, "onnx.checker")
def a_circle(model):
    return after_logits(
        model, node("Add", ["raw", "later"], "logits"), node("Neg", ["logits"], "later")
    )


@broken(GRAPH, "not finite", *REST)
def nan_where_nobody_looks(model):
    constant(model, "unused", [np.nan, 1.0])
    return model


@broken(GRAPH, "drops values at random", MAPPING)
def dropout_in_training_mode(model):
    share = constant(model, "share", 0.5)
    training = constant(model, "training", True, np.bool_)
    return after_logits(model, node("Dropout", ["raw", share, training], "logits"))


@broken(GRAPH, "draws random numbers", MAPPING)
def noise_on_the_scores(model):
    return after_logits(
        model,
        node("RandomNormalLike", ["raw"], "noise", scale=1e-3),
        node("Add", ["raw", "noise"], "logits"),
    )


@broken(GRAPH, "draws random numbers", MAPPING)
def noise_inside_a_function(model):
    inner = [
        helper.make_node("RandomUniformLike", ["x"], ["noise"], low=0.0, high=1e-3),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    versions = [helper.make_opsetid("", 20)]
    function = helper.make_function("ours", "Nice", ["x"], ["y"], inner, versions)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("ours", 1))
    return after_logits(model, node("Nice", ["raw"], "logits", domain="ours"))


def moved_out(model, location):
    outside(tensor(model, "8.weight"), location)
    return model


def outside(value: onnx.TensorProto, location: str) -> None:
    value.ClearField("raw_data")
    value.ClearField("float_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value=location)
