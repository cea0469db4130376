"""Models that answer differently from the checkpoint's averaged weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from onnx import numpy_helper

from jersey_assets.export.onnx_model import export_onnx
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
from jersey_assets_tests.export.models import PROVENANCE, set_property

REST = (GRAPH, LOGITS, BATCH, MAPPING)
AWAY = "from the checkpoint's averaged weights"


def exported(checkpoint, **changes) -> bytes:
    with TemporaryDirectory() as folder:
        export_onnx(replace(checkpoint, **changes), Path(folder), PROVENANCE)
        return (Path(folder) / "model.onnx").read_bytes()


@broken(WEIGHTS, "the weights before averaging", *REST)
def weights_before_averaging(model, checkpoint):
    return exported(checkpoint, state_dict=checkpoint.raw_state_dict)


@broken(WEIGHTS, AWAY, *REST)
def halfway_between_raw_and_averaged(model, checkpoint):
    raw, averaged = checkpoint.raw_state_dict, checkpoint.state_dict
    between = {
        k: torch.lerp(v, raw[k], 0.5) if v.is_floating_point() else v
        for k, v in averaged.items()
    }
    return exported(checkpoint, state_dict=between)


@broken(WEIGHTS, AWAY, *REST)
def averaged_weights_with_raw_statistics(model, checkpoint):
    raw = checkpoint.raw_state_dict
    mixed = {
        k: raw[k] if "running" in k else v for k, v in checkpoint.state_dict.items()
    }
    return exported(checkpoint, state_dict=mixed)


@broken(WEIGHTS, AWAY, *REST)
def weights_of_another_training(model):
    draw = np.random.default_rng(9)
    return change(model, "3.weight", lambda w: draw.normal(0, 0.1, w.shape))


@broken(WEIGHTS, AWAY, *REST)
def one_filter_lost(model):
    return change(model, "3.weight", lambda w: with_value(w, 0, 0.0))


@broken(WEIGHTS, AWAY, *REST)
def one_weight_of_the_head_lost(model):
    return change(model, "8.weight", lambda w: with_value(w, (4, 4), 0.0))


@broken(WEIGHTS, AWAY, *REST)
def bias_lost(model):
    return change(model, "8.bias", np.zeros_like)


@broken(WEIGHTS, AWAY, *REST)
def head_a_thousandth_larger(model):
    return change(model, "8.weight", lambda w: w * 1.001)


@broken(WEIGHTS, AWAY, *REST)
def weights_rounded_to_half_precision(model):
    return rounded(model, np.float16)


@broken(WEIGHTS, AWAY, *REST)
def weights_rounded_to_bfloat16(model):
    return rounded(model, None)


@broken(WEIGHTS, AWAY, *REST)
def weights_rounded_to_eight_bits(model):
    def to_int8(weights):
        scale = np.abs(weights).max() / 127
        return np.round(weights / scale) * scale

    return change(change(model, "3.weight", to_int8), "8.weight", to_int8)


@broken(WEIGHTS, "the classes are not in the checkpoint's order", *REST)
def classes_rotated_in_the_head(model):
    change(model, "8.weight", lambda w: np.roll(w, 1, axis=0))
    return change(model, "8.bias", lambda b: np.roll(b, 1))


@broken(WEIGHTS, "the classes are not in the checkpoint's order", *REST)
def two_classes_exchanged_behind_the_head(model):
    order = constant(model, "order", [0, 2, 1, *range(3, 11)], np.int64)
    return after_logits(model, node("Gather", ["raw", order], "logits", axis=1))


@broken(WEIGHTS, AWAY, *REST)
def scores_of_a_temperature(model):
    return after_logits(
        model, node("Div", ["raw", constant(model, "temperature", 2)], "logits")
    )


@broken(WEIGHTS, AWAY, *REST)
def scores_shifted_by_a_constant(model):
    return after_logits(
        model, node("Add", ["raw", constant(model, "shift", 0.01)], "logits")
    )


@broken(WEIGHTS, AWAY, *REST)
def colours_in_another_order(model):
    return change(model, "0.weight", lambda w: w[:, ::-1])


@broken(WEIGHTS, AWAY, *REST)
def crops_mirrored(model):
    names = [
        constant(model, name, [value], np.int64)
        for name, value in (("from", -1), ("to", -(2**31)), ("along", 3), ("by", -1))
    ]
    return before_input(model, node("Slice", ["input", *names], "prepared"))


@broken(WEIGHTS, AWAY, *REST)
def crops_turned(model):
    turned = node("Transpose", ["input"], "prepared", perm=[0, 1, 3, 2])
    return before_input(model, turned)


@broken(WEIGHTS, AWAY, *REST)
def crops_normalized_twice(model):
    mean = constant(model, "again_mean", np.reshape([0.44, 0.42, 0.41], (3, 1, 1)))
    std = constant(model, "again_std", np.reshape([0.25, 0.24, 0.23], (3, 1, 1)))
    return before_input(
        model,
        node("Sub", ["input", mean], "shifted"),
        node("Div", ["shifted", std], "prepared"),
    )


@broken(WEIGHTS, "metadata says mean", *REST)
def another_mean_in_the_metadata(model):
    set_property(model, "jersey.mean", [0.485, 0.456, 0.406])
    return model


@broken(WEIGHTS, "metadata says std", *REST)
def another_deviation_in_the_metadata(model):
    set_property(model, "jersey.std", [0.229, 0.224, 0.225])
    return model


@broken(WEIGHTS, "metadata says checkpoint_sha256", *REST)
def another_checkpoint_in_the_metadata(model):
    set_property(model, "jersey.checkpoint_sha256", "d" * 64)
    return model


@broken(WEIGHTS, "metadata says ema_step", *REST)
def another_step_in_the_metadata(model):
    set_property(model, "jersey.ema_step", "4")
    return model


def with_value(weights, index, value):
    weights[index] = value
    return weights


def rounded(model, dtype):
    for name in ("0.weight", "3.weight", "8.weight"):
        values = numpy_helper.to_array(tensor(model, name))
        if dtype is None:
            short = torch.from_numpy(values.copy()).bfloat16().float().numpy()
        else:
            short = values.astype(dtype).astype(np.float32)
        change(model, name, lambda _, short=short: short)
    return model


@broken(WEIGHTS, AWAY, *REST)
def bright_and_dark_crops_cut_off(model):
    low, high = constant(model, "low", -2.2), constant(model, "high", 2.3)
    return before_input(model, node("Clip", ["input", low, high], "prepared"))


@broken(WEIGHTS, "it takes 48 x 48 px, the checkpoint 32 x 32")
def crops_of_another_size(model):
    set_shape(model.graph.input[0], "batch", 3, 48, 48)
    set_property(model, "jersey.image_size", 48)
    sizes = constant(model, "sizes", [1, 1, 2 / 3, 2 / 3])
    return before_input(
        model, node("Resize", ["input", "", sizes], "prepared", mode="linear")
    )
