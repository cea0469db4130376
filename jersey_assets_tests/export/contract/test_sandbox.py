"""Hostile files: a failed promise within the limits, never a hang or a crash."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from jersey_assets.export.contract.check import check_model
from jersey_assets.export.contract.sandbox import Limits
from jersey_assets_tests.export.contract.broken.surgery import (
    after_logits,
    before_input,
    constant,
    node,
)

LIMITS = Limits(seconds=60, memory_bytes=3 * 2**30)
CHOOSES = "chooses at run time what is computed"


def check(path: Path, limits: Limits = LIMITS) -> str:
    """Checks that nothing which needs a run is promised; gives what the first says."""
    graph, logits, batches, _ = check_model(path, limits=limits)
    assert [graph.passed, logits.passed, batches.passed] == [False] * 3
    return graph.message


def loop(model: ModelProto, turns: int, body: list) -> ModelProto:
    """Lets a loop of so many turns follow the model's output."""
    inputs = [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
    ]
    outputs = [
        helper.make_tensor_value_info("go_on_then", TensorProto.BOOL, []),
        helper.make_tensor_value_info("out", TensorProto.FLOAT, None),
    ]
    onward = helper.make_node("Identity", ["go_on"], ["go_on_then"])
    graph = helper.make_graph([onward, *body], "body", inputs, outputs)
    count = constant(model, "turns", turns, np.int64)
    yes = constant(model, "yes", True, np.bool_)
    return after_logits(
        model, helper.make_node("Loop", [count, yes, "raw"], ["logits"], body=graph)
    )


def endless_loop(model: ModelProto) -> ModelProto:
    return loop(model, 2**62, [helper.make_node("Relu", ["state"], ["out"])])


def loop_that_doubles_its_state(model: ModelProto) -> ModelProto:
    doubling = helper.make_node("Concat", ["state", "state"], ["out"], axis=0)
    return loop(model, 60, [doubling])


def huge_constant(model: ModelProto) -> ModelProto:
    shape = constant(model, "huge", [2**20, 2**20], np.int64)
    return after_logits(
        model,
        node("ConstantOfShape", [shape], "ocean"),
        node("ReduceSum", ["ocean"], "sum", keepdims=0),
        node("Add", ["raw", "sum"], "logits"),
    )


def huge_activation(model: ModelProto) -> ModelProto:
    times = constant(model, "times", [2**14, 2**10], np.int64)
    return after_logits(
        model,
        node("Tile", ["raw", times], "ocean"),
        node("ReduceMax", ["ocean"], "peak", keepdims=0),
        node("Add", ["raw", "peak"], "logits"),
    )


def huge_picture(model: ModelProto) -> ModelProto:
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 2**20
    return model


def weight_of_a_size_that_is_not_there(model: ModelProto) -> ModelProto:
    weight = next(t for t in model.graph.initializer if t.name == "8.weight")
    weight.dims[:] = [2**31, 2**31]
    return model


def heavy_work(model: ModelProto) -> ModelProto:
    side = constant(model, "side", [3000, 3000], np.int64)
    nodes = [node("ConstantOfShape", [side], "m0")]
    nodes += [node("MatMul", [f"m{i}", f"m{i}"], f"m{i + 1}") for i in range(2000)]
    return after_logits(
        model,
        *nodes,
        node("ReduceSum", ["m2000"], "sum", keepdims=0),
        node("Add", ["raw", "sum"], "logits"),
    )


def graphs_within_graphs(model: ModelProto) -> ModelProto:
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["raw"], ["out"])], "g", [], [out]
    )
    for _ in range(40):
        inner = helper.make_node(
            "If", ["yes"], ["out"], then_branch=graph, else_branch=graph
        )
        if graph.ByteSize() > 2**17:
            break
        graph = helper.make_graph([inner], "g", [], [out])
    constant(model, "yes", True, np.bool_)
    return after_logits(
        model,
        helper.make_node(
            "If", ["yes"], ["logits"], then_branch=graph, else_branch=graph
        ),
    )


def functions_that_call_each_other(model: ModelProto) -> ModelProto:
    version = helper.make_opsetid("ours", 1)
    for name, other in (("A", "B"), ("B", "A")):
        call = helper.make_node(other, ["x"], ["y"], domain="ours")
        function = helper.make_function("ours", name, ["x"], ["y"], [call], [version])
        model.functions.append(function)
    model.opset_import.append(version)
    return after_logits(model, node("A", ["raw"], "logits", domain="ours"))


def functions_that_multiply(model: ModelProto) -> ModelProto:
    """2 to the 40th nodes, once the functions are written out."""
    versions = [helper.make_opsetid("ours", 1), helper.make_opsetid("", 20)]
    last = helper.make_node("Relu", ["x"], ["y"])
    for level in range(40):
        body = [last]
        if level:
            body = [
                helper.make_node(f"F{level - 1}", ["x"], ["m"], domain="ours"),
                helper.make_node(f"F{level - 1}", ["m"], ["y"], domain="ours"),
            ]
        function = helper.make_function(
            "ours", f"F{level}", ["x"], ["y"], body, versions
        )
        model.functions.append(function)
    model.opset_import.append(versions[0])
    return after_logits(model, node("F39", ["raw"], "logits", domain="ours"))


def output_that_is_text(model: ModelProto) -> ModelProto:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    return after_logits(model, node("Cast", ["raw"], "logits", to=TensorProto.STRING))


def output_that_is_a_list(model: ModelProto) -> ModelProto:
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    listed = helper.make_sequence_type_proto(kind)
    model.graph.output[0].CopyFrom(helper.make_value_info("logits", listed))
    return after_logits(model, node("SequenceConstruct", ["raw"], "logits"))


def zero_divided(model: ModelProto) -> ModelProto:
    """An integer division that kills a process on some machines."""
    zero = constant(model, "zero", 0, np.int64)
    return before_input(
        model,
        node("Shape", ["input"], "shape"),
        node("Div", ["shape", zero], "broken_shape"),
        node("Reshape", ["input", "broken_shape"], "prepared"),
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (huge_constant, "Failed to allocate memory"),
        (huge_activation, "Tile output tensor would require more than"),
        (huge_picture, "it needs more than 3.0 GiB"),
        (weight_of_a_size_that_is_not_there, "a shape too large"),
        (functions_that_call_each_other, "must not be recursive"),
        (output_that_is_text, "tensor(string) logits"),
        (output_that_is_a_list, "seq(tensor(float)) logits"),
        (zero_divided, "Integer division by zero"),
        (endless_loop, f"operator Loop {CHOOSES}"),
        (loop_that_doubles_its_state, f"operator Loop {CHOOSES}"),
        (graphs_within_graphs, f"operator If {CHOOSES}"),
    ],
)
def test_a_hostile_model_only_fails(
    make: Callable[[ModelProto], ModelProto],
    says: str,
    proto: ModelProto,
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(make(proto).SerializeToString())
    assert says in check(path)


@pytest.mark.parametrize("make", [heavy_work, functions_that_multiply])
def test_an_endless_model_is_ended_and_named(
    make: Callable[[ModelProto], ModelProto], proto: ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(make(proto).SerializeToString())
    assert "not finished after 3 s" in check(path, Limits(seconds=3))


def test_a_missing_file_a_folder_and_a_pipe_only_fail(tmp_path: Path) -> None:
    assert "No such file" in check(tmp_path / "missing.onnx")
    assert "not a regular file" in check(tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "not a regular file" in check(tmp_path / "pipe.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    assert "not a regular file" in check(tmp_path / "zero.onnx")


def test_a_file_above_the_limit_is_not_read(proto: ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    assert "at most 1000" in check(path, Limits(file_bytes=1000))


def test_the_child_does_not_get_our_environment(
    proto: ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    given: list[dict[str, str]] = []
    run = subprocess.run

    def noted(*arguments: Any, **options: Any) -> Any:
        given.append(options["env"])
        return run(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", noted)
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    assert check_model(path)[0].passed
    (environment,) = given
    assert "PATH" in environment
    assert "REGISTRY_PASSWORD" not in environment
