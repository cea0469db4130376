"""The int8 model: whole, close to the float one, and judged by what it loses."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from jersey_assets.export.contract.check import check_model, check_quantized
from jersey_assets.export.int8 import compare_int8, quantize, verdicts, write_int8
from jersey_assets.export.onnx_model import export_onnx
from jersey_assets.labels.file import LabelsFile
from jersey_assets.reader.predictor import Predictor
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets_tests.export.contract.broken.surgery import after_logits, node
from jersey_assets_tests.export.models import LABELS, PROVENANCE, make_crops
from jersey_assets_tests.export.models import properties as said

MAPPING = LabelsFile({label: index for index, label in enumerate(LABELS)})
CROPS = make_crops(40, 32)


@pytest.fixture(scope="module")
def model(small: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float model whose scores differ from crop to crop, as a trained one's do."""
    weights = dict(small.state_dict)
    draw = torch.Generator().manual_seed(4)
    weights["8.weight"] = torch.randn(weights["8.weight"].shape, generator=draw)
    folder = tmp_path_factory.mktemp("float")
    export_onnx(replace(small, state_dict=weights), folder, PROVENANCE)
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def folder(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("int8")
    write_int8(model, CROPS, CROPS, made)
    return made


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def failed(path: Path, report: dict[str, Any]) -> set[str]:
    return {v.name for v in verdicts(path, report, MAPPING) if not v.passed}


def test_the_int8_model_keeps_its_promises(
    folder: Path, report: dict[str, Any]
) -> None:
    found = verdicts(folder / "model.onnx", report, MAPPING)
    assert [v.message for v in found if not v.passed] == []
    assert [v.name for v in found] == [
        "int8_contract_holds",
        "int8_close_to_float",
        "int8_accuracy_kept",
    ]
    assert {row["runtime"] for row in report["latency"]} == {"float32", "int8"}


def test_its_weights_have_8_bits_and_the_last_layer_has_32(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    kinds = {
        len(t.dims): t.data_type for t in model.graph.initializer if len(t.dims) > 1
    }
    assert kinds == {4: onnx.TensorProto.INT8, 2: onnx.TensorProto.FLOAT}
    scales = [
        numpy_helper.to_array(t)
        for t in model.graph.initializer
        if t.name.endswith("_scale") and t.dims
    ]
    assert {len(scale) for scale in scales} == {8, 16}  # one for each output channel
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["labels_mapping.json", "model.onnx", "report.json"]


def test_it_says_what_the_float_model_says_and_how_it_was_rounded(
    model: Path, folder: Path
) -> None:
    float_says, int8_says = (
        said(onnx.load(path)) for path in (model, folder / "model.onnx")
    )
    assert int8_says.pop("jersey.quantization").startswith("static QDQ, uint8")
    assert int8_says == float_says


def test_the_report_is_what_a_plain_computation_gives(
    model: Path, folder: Path, report: dict[str, Any]
) -> None:
    images = CROPS.images.permute(0, 2, 3, 1).numpy()
    float_logits, int8_logits = (
        Predictor(path).logits(images).astype(np.float64)
        for path in (model, folder / "model.onnx")
    )
    noise = int8_logits - float_logits
    signal = float_logits - float_logits.mean(axis=1, keepdims=True)
    expected = 10 * np.log10((signal**2).sum() / (noise**2).sum())
    assert report["sqnr_db"] == pytest.approx(expected)
    assert report["max_abs_error"] == pytest.approx(np.abs(noise).max())
    assert noise.any()
    right = [
        logits.argmax(1) == CROPS.targets.numpy()
        for logits in (float_logits, int8_logits)
    ]
    assert report["float_top1"] == right[0].mean()
    assert report["only_float_right"] == (right[0] & ~right[1]).sum()
    assert report["only_int8_right"] == (right[1] & ~right[0]).sum()


def test_the_predictor_reads_crops_with_it(folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "crop.png"
    Image.fromarray(CROPS.images[0].permute(1, 2, 0).numpy()).save(image)
    (answer,) = Predictor(folder / "model.onnx").predict([image])
    assert answer.label in LABELS


def test_the_same_model_and_crops_give_the_same_bytes_in_silence(
    model: Path,
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    quantize(model, CROPS, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (
        folder / "model.onnx"
    ).read_bytes()
    assert capfd.readouterr() == ("", "")
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_a_float_model_is_no_int8_model(model: Path) -> None:
    verdict = check_quantized(model, MAPPING)
    assert not verdict.passed
    assert verdict.message.startswith("0% of the weights have 8 bits")


def test_an_int8_model_is_not_taken_for_its_checkpoint(
    small: Checkpoint, folder: Path
) -> None:
    broken = {v.name for v in check_model(folder / "model.onnx", small) if not v.passed}
    assert "weights_match_checkpoint" in broken


def with_softmax(model: onnx.ModelProto) -> None:
    after_logits(model, node("Softmax", ["raw"], "logits"))


def with_a_weight_of_nan(model: onnx.ModelProto) -> None:
    head = next(t for t in model.graph.initializer if t.name == "8.bias")
    head.CopyFrom(numpy_helper.from_array(np.full(11, np.nan, np.float32), "8.bias"))


def with_a_batch_of_two(model: onnx.ModelProto) -> None:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 2


def with_classes_in_another_order(model: onnx.ModelProto) -> None:
    entry = next(p for p in model.metadata_props if p.key == "jersey.labels")
    entry.value = json.dumps(LABELS[::-1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_softmax, "softmax"),
        (with_a_weight_of_nan, "not finite"),
        (with_a_batch_of_two, "batch axis"),
        (with_classes_in_another_order, "labels differ"),
    ],
)
def test_a_broken_int8_model_fails_its_contract(
    change: Any, words: str, folder: Path, tmp_path: Path
) -> None:
    model = onnx.load(folder / "model.onnx")
    change(model)
    onnx.save(model, tmp_path / "model.onnx")
    verdict = check_quantized(tmp_path / "model.onnx", MAPPING)
    assert not verdict.passed
    assert words in verdict.message


def test_calibration_on_other_pictures_is_seen_in_the_logits(
    model: Path, folder: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    grey = replace(CROPS, images=torch.full_like(CROPS.images, 128))
    quantize(model, grey, tmp_path / "grey.onnx")
    found = compare_int8(model, tmp_path / "grey.onnx", CROPS)
    assert found["sqnr_db"] < 10 < report["sqnr_db"]
    assert "int8_close_to_float" in failed(folder / "model.onnx", found)


@pytest.mark.parametrize(
    ("images", "lost", "won", "kept"),
    [
        (40, 1, 0, True),
        (40, 2, 0, False),
        (40, 9, 8, True),
        (1000, 10, 0, True),
        (1000, 11, 0, False),
        (1000, 0, 50, True),
    ],
)
def test_accuracy_is_judged_by_crops_that_one_of_both_reads(
    images: int,
    lost: int,
    won: int,
    kept: bool,
    folder: Path,
    report: dict[str, Any],
) -> None:
    counted = {"images": images, "only_float_right": lost, "only_int8_right": won}
    found = failed(folder / "model.onnx", report | counted)
    assert found == (set() if kept else {"int8_accuracy_kept"})
