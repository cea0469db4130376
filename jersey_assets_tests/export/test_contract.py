"""The contract: good models keep every promise, broken ones break the right one."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from jersey_assets.export.contract import check_model
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets_tests.export.broken import BROKEN
from jersey_assets_tests.export.conftest import LABELS

NAMES = [
    "graph_is_valid",
    "output_is_logits",
    "batch_axis_is_dynamic",
    "weights_match_checkpoint",
    "labels_match_class_mapping",
]


def test_an_exported_checkpoint_keeps_every_promise(
    resnet_folder: Path, resnet: Checkpoint
) -> None:
    mapping = {label: index for index, label in enumerate(LABELS)}
    verdicts = check_model(resnet_folder / "model.onnx", resnet, mapping)
    assert [verdict.name for verdict in verdicts] == NAMES
    assert [v.message for v in verdicts if not v.passed] == []


def test_without_a_checkpoint_its_weights_are_not_judged(resnet_folder: Path) -> None:
    verdicts = check_model(resnet_folder / "model.onnx")
    assert [verdict.name for verdict in verdicts] == [*NAMES[:3], NAMES[4]]
    assert all(verdict.passed for verdict in verdicts)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_breaks_the_promise_and_says_why(
    name: str, proto: onnx.ModelProto, small: Checkpoint, tmp_path: Path
) -> None:
    case = BROKEN[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(case.make(proto, small))
    if case.sidecar is not None:
        (tmp_path / "labels_mapping.json").write_text(case.sidecar)
    verdicts = {v.name: v for v in check_model(path, small, case.labels)}
    assert not verdicts[case.breaks].passed
    assert case.says in verdicts[case.breaks].message
    kept = {n for n, v in verdicts.items() if v.passed}
    assert kept >= case.keeps
