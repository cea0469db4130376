"""Parity: the report's numbers are right, and a NaN or a wrong model cannot pass."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from jersey_assets.export.comparison import compare
from jersey_assets.export.latency import measure_latency
from jersey_assets.export.parity import write_parity
from jersey_assets.export.parity_checks import verdicts
from jersey_assets.export.tolerance import distance
from jersey_assets.reader.file_metadata import ModelError
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.data.crops import Crops, normalize
from jersey_assets_tests.export.conftest import make_crops
from jersey_assets_tests.export.contract.broken.surgery import change


@pytest.fixture(scope="module")
def crops() -> Crops:
    return make_crops(40, 32)


@pytest.fixture(scope="module")
def report(
    small: Checkpoint,
    small_bytes: bytes,
    crops: Crops,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("parity") / "model.onnx"
    path.write_bytes(small_bytes)
    return compare(path, small, crops).report


def broken_report(
    proto: onnx.ModelProto, small: Checkpoint, crops: Crops, path: Path
) -> dict[str, Any]:
    path.write_bytes(proto.SerializeToString())
    return compare(path, small, crops).report


def failed(report: dict[str, Any]) -> set[str]:
    return {verdict.name for verdict in verdicts(report) if not verdict.passed}


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


def test_the_report_is_plain_json_and_can_be_judged_again(
    report: dict[str, Any],
) -> None:
    again = json.loads(json.dumps(report, allow_nan=False))
    assert [v.passed for v in verdicts(again)] == [True, True, True]


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


def test_unusual_images_are_compared_with_tolerances_of_their_own(
    report: dict[str, Any],
) -> None:
    kinds = {row["kind"]: row for row in report["probes"]}
    assert len(kinds) == 6
    assert len({row["tolerance"] for row in kinds.values()}) == 6
    assert all(row["max_abs_error"] <= row["tolerance"] for row in kinds.values())
    changed = copy.deepcopy(report)
    changed["probes"][2]["max_abs_error"] = None
    assert failed(changed) == {"logits_within_tolerance"}


def test_the_report_is_written_with_latencies_and_figures(
    small: Checkpoint, small_bytes: bytes, crops: Crops, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(small_bytes)
    out = tmp_path / "report"
    out.mkdir()
    report = write_parity(model, small, crops, out)
    assert json.loads((out / "report.json").read_text()) == report
    assert {path.name for path in out.iterdir()} == {
        "errors.png",
        "latency.png",
        "logits.png",
        "report.html",
        "report.json",
    }
    runtimes = {row["runtime"] for row in report["latency"]}
    assert len(runtimes) == 3
    assert {row["batch_size"] for row in report["latency"]} == {1, 8, 32}


def test_optimizations_are_compared_on_and_off_over_the_whole_sample(
    report: dict[str, Any],
) -> None:
    on, off = report["per_optimization"]
    assert (on["graph_optimizations"], off["graph_optimizations"]) == ("on", "off")
    assert on["images"] == off["images"] == 40
    changed = copy.deepcopy(report)
    changed["per_optimization"][1]["max_abs_error"] = 0.1
    assert failed(changed) == {"logits_within_tolerance"}


def test_report_and_check_tell_one_largest_error_over_every_comparison(
    report: dict[str, Any],
) -> None:
    largest = report["max_abs_error"]
    rows = [*report["per_batch_size"], *report["per_optimization"]]
    assert max(row["max_abs_error"] for row in rows) <= largest
    (judged, *_) = verdicts(report)
    assert judged.facts["max_abs_error"] == largest
    assert f"largest error {largest:.3g} over 40 crops, every batch" in judged.message


def test_errors_are_absolute_and_relative_to_the_largest_logit() -> None:
    reference = np.array([[2.0, -4.0], [0.0, 0.0]])
    found = distance(reference + np.array([[0.0, 1.0], [0.5, 0.0]]), reference)
    assert found["max_abs_error"] == 1.0
    assert found["mean_abs_error"] == 0.375
    # A row of zeros has no scale: its absolute error stands.
    assert found["max_relative_error"] == 0.5


def test_measuring_latency_leaves_torchs_threads_as_they_were(
    small: Checkpoint, small_bytes: bytes
) -> None:
    before = torch.get_num_threads()
    rows = measure_latency(small_bytes, small, seconds=0.0)
    assert torch.get_num_threads() == before
    assert all(row["images_per_second"] > 0 for row in rows)


def test_a_tie_within_the_tolerance_is_no_disagreement(report: dict[str, Any]) -> None:
    tied = copy.deepcopy(report)
    tied["top1_agreement"] = 0.975
    case = {"image": "a.png", "onnx": "1", "torch": "7"}
    tied["disagreements"] = [{**case, "margin": report["tolerance"]}]
    assert "top1_agrees" not in failed(tied)
    tied["disagreements"] = [{**case, "margin": 3 * report["tolerance"]}]
    assert failed(tied) == {"top1_agrees"}


def test_rows_that_change_with_the_batch_size_are_seen(report: dict[str, Any]) -> None:
    changed = copy.deepcopy(report)
    changed["per_batch_size"][2]["max_change"] = 0.1
    assert failed(changed) == {"batch_independent"}


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
