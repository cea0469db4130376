"""The exporter: one self-contained, deterministic file that says where it is from."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import onnx
import onnx.numpy_helper
import pytest
import torch

from jersey_assets.export.onnx_model import OPSET, export_onnx
from jersey_assets.reader.file_metadata import read_metadata
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.recipe import Recipe
from jersey_assets_tests.export.models import (
    LABELS,
    PROVENANCE,
    properties,
    set_property,
)


def test_the_folder_holds_one_model_file_and_the_labels(resnet_folder: Path) -> None:
    names = sorted(path.name for path in resnet_folder.iterdir())
    assert names == ["labels_mapping.json", "model.onnx"]
    said = json.loads((resnet_folder / "labels_mapping.json").read_text())
    assert said == {
        "num_classes": len(LABELS),
        "class_to_idx": {label: index for index, label in enumerate(LABELS)},
        "idx_to_class": {str(index): label for index, label in enumerate(LABELS)},
        "normalization": {"mean": [0.44, 0.42, 0.41], "std": [0.25, 0.24, 0.23]},
    }


def test_the_model_says_what_it_reads_and_where_it_comes_from(
    resnet_folder: Path, resnet: Checkpoint
) -> None:
    model = onnx.load(resnet_folder / "model.onnx")
    said, origin = properties(model), asdict(PROVENANCE)
    metadata = read_metadata(said)
    assert metadata.labels == LABELS
    assert metadata.mean == resnet.mean
    assert metadata.std == resnet.std
    assert metadata.image_size == 64
    assert metadata.checkpoint_sha256 == resnet.sha256
    assert {key: said[f"jersey.{key}"] for key in origin} == origin
    assert said["jersey.decode"].startswith("RGB after EXIF transposition")
    assert model.opset_import[0].version == OPSET


def test_the_file_does_not_tell_paths_of_the_machine_that_made_it(
    resnet_folder: Path,
) -> None:
    data = (resnet_folder / "model.onnx").read_bytes()
    assert b"site-packages" not in data
    assert str(Path.home()).encode() not in data


def test_the_same_weights_give_the_same_bytes(
    small: Checkpoint, small_bytes: bytes, tmp_path: Path
) -> None:
    export_onnx(small, tmp_path, PROVENANCE)
    assert (tmp_path / "model.onnx").read_bytes() == small_bytes


def test_another_run_changes_what_the_file_says_of_its_origin_and_nothing_else(
    small: Checkpoint, small_bytes: bytes, tmp_path: Path
) -> None:
    export_onnx(small, tmp_path, replace(PROVENANCE, run_id="run-2"))
    other = onnx.load(tmp_path / "model.onnx")
    assert properties(other)["jersey.run_id"] == "run-2"
    set_property(other, "jersey.run_id", PROVENANCE.run_id)
    assert other.SerializeToString(deterministic=True) == small_bytes


def test_exporting_says_nothing_in_the_terminal(
    small: Checkpoint,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(small, tmp_path, PROVENANCE)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert logging.getLogger("onnxscript").level == logging.NOTSET


def test_the_head_is_one_plain_linear_layer(tmp_path: Path, resnet: Checkpoint) -> None:
    recipe = Recipe(model="jerseynet", image_size=32)
    network = build_model(recipe, LABELS).eval()
    torch.nn.init.normal_(network.get_parameter("head.character_weight"))
    state = network.state_dict()
    checkpoint = replace(resnet, recipe=recipe, state_dict=state, raw_state_dict=state)
    export_onnx(checkpoint, tmp_path, PROVENANCE)
    graph = onnx.load(tmp_path / "model.onnx").graph
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    products = [n for n in graph.node if n.op_type in ("Gemm", "MatMul")]
    assert [node.op_type for node in products] == ["Gemm"]
    assert list(products[0].output) == ["logits"]
    _, weight, bias = products[0].input
    head = network.get_submodule("head")
    summed = head.weight + head.incidence @ head.character_weight
    assert (tensors[weight] == summed.detach().numpy()).all()
    assert tensors[bias].shape == (len(LABELS),)
    assert not [name for name in tensors if "character" in name or "incid" in name]
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
