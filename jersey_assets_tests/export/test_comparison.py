"""The comparison's numbers are right, and a NaN or a wrong model cannot pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from jersey_assets.export.comparison import compare
from jersey_assets.export.parity_checks import verdicts
from jersey_assets.reader.file_metadata import ModelError
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.data.crops import Crops, normalize
from jersey_assets_tests.export.contract.broken.surgery import change
from jersey_assets_tests.export.models import make_crops


def failed(report: dict[str, Any]) -> set[str]:
    return {verdict.name for verdict in verdicts(report) if not verdict.passed}


def broken_report(
    proto: onnx.ModelProto, small: Checkpoint, crops: Crops, path: Path
) -> dict[str, Any]:
    path.write_bytes(proto.SerializeToString())
    return compare(path, small, crops).report


def test_an_exported_model_agrees_with_its_checkpoint(report: dict[str, Any]) -> None:
    assert report["passed"]
    assert [v.name for v in verdicts(report)] == [
        "logits_within_tolerance",
        "top1_agrees",
        "batch_independent",
    ]
    assert report["images"] == 40
    assert report["batch_sizes"] == [1, 2, 3, 8, 17, 32]
    assert report["top1_agreement"] == 1
    assert report["torch_top1"] == report["onnx_top1"]
    assert 0 < report["tolerance"] < 1e-4


def test_batches_larger_than_the_crops_are_left_out(
    small: Checkpoint, proto: onnx.ModelProto, tmp_path: Path
) -> None:
    report = broken_report(proto, small, make_crops(5, 32), tmp_path / "m.onnx")
    assert report["batch_sizes"] == [1, 2, 3]
    assert report["passed"]


def test_no_crops_are_refused(
    small: Checkpoint, proto: onnx.ModelProto, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="no crops"):
        broken_report(proto, small, make_crops(0, 32), tmp_path / "m.onnx")


def test_a_slightly_different_weight_is_seen(
    small: Checkpoint, proto: onnx.ModelProto, crops: Crops, tmp_path: Path
) -> None:
    change(proto, "8.weight", lambda w: w * 1.001)
    report = broken_report(proto, small, crops, tmp_path / "m.onnx")
    assert "logits_within_tolerance" in failed(report)
    assert not report["passed"]


def test_nan_scores_fail_every_promise_and_are_null_in_the_report(
    small: Checkpoint, proto: onnx.ModelProto, crops: Crops, tmp_path: Path
) -> None:
    change(proto, "8.weight", lambda w: np.full_like(w, np.nan))
    report = broken_report(proto, small, crops, tmp_path / "m.onnx")
    assert report["max_abs_error"] is None
    assert report["top1_agreement"] == 0
    assert len(failed(report)) == 3
    json.dumps(report, allow_nan=False)


def test_exchanged_classes_are_listed_with_crop_and_margin(
    small: Checkpoint, proto: onnx.ModelProto, crops: Crops, tmp_path: Path
) -> None:
    order = [1, 0, *range(2, 11)]
    change(proto, "8.weight", lambda w: w[order])
    change(proto, "8.bias", lambda b: b[order])
    report = broken_report(proto, small, crops, tmp_path / "m.onnx")
    with torch.inference_mode():
        inputs = normalize(crops.images, small.mean, small.std)
        best = small.build_model()(inputs).argmax(1)
    # Classes 0 and 1 are exchanged, so the answer differs wherever one of them wins.
    rows = [row for row, winner in enumerate(best.tolist()) if winner in (0, 1)]
    cases = report["disagreements"]
    assert [case["image"] for case in cases] == [crops.names[row] for row in rows]
    assert all(case["margin"] > 0 for case in cases)
    assert "logits_within_tolerance" in failed(report)


def test_the_errors_are_those_of_a_plain_computation(
    small: Checkpoint, small_bytes: bytes, crops: Crops, report: dict[str, Any]
) -> None:
    model = onnx.ModelProto.FromString(small_bytes)
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert weights["8.weight"].shape == (11, 16)
    network = small.build_model().double()
    mean = torch.tensor(small.mean).view(1, 3, 1, 1) * 255
    std = torch.tensor(small.std).view(1, 3, 1, 1) * 255
    with torch.inference_mode():
        logits = network(((crops.images.float() - mean) / std).double())
    top1 = float((logits.argmax(1) == crops.targets).double().mean())
    assert report["torch_top1"] == pytest.approx(top1)
