"""The contract: good models keep every promise, broken ones break the right one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import onnx
import pytest
import torch

from jersey_assets.export.contract.check import check_model, judge_model
from jersey_assets.export.contract.observation import Observation
from jersey_assets.export.contract.questions import questions
from jersey_assets.export.contract.sandbox import observe
from jersey_assets.labels.file import LabelsFile
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets_tests.export.contract.broken import BROKEN
from jersey_assets_tests.export.contract.good import GOOD
from jersey_assets_tests.export.models import LABELS

NAMES = [
    "graph_is_valid",
    "output_is_logits",
    "batch_axis_is_dynamic",
    "weights_match_checkpoint",
    "labels_match_class_mapping",
]

Asked: TypeAlias = dict[str, tuple[Path, Future[Observation]]]


def test_an_exported_checkpoint_keeps_every_promise(
    resnet_folder: Path, resnet: Checkpoint
) -> None:
    mapping = LabelsFile({label: index for index, label in enumerate(LABELS)})
    verdicts = check_model(resnet_folder / "model.onnx", resnet, mapping)
    assert [verdict.name for verdict in verdicts] == NAMES
    assert [v.message for v in verdicts if not v.passed] == []


def test_without_a_checkpoint_its_weights_are_not_judged(resnet_folder: Path) -> None:
    verdicts = check_model(resnet_folder / "model.onnx")
    assert [verdict.name for verdict in verdicts] == [*NAMES[:3], NAMES[4]]
    assert all(verdict.passed for verdict in verdicts)


def test_an_answer_that_is_withheld_is_a_fault(
    small: Checkpoint, small_bytes: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(small_bytes)
    seen = observe(path)
    table = questions(bytes.fromhex(seen.sha256))
    assert set(seen.answers) == {"rows", *table}
    for name in table:
        answers = {n: value for n, value in seen.answers.items() if n != name}
        verdicts = judge_model(path, replace(seen, answers=answers), small, None)
        failed = {v.name: v.message for v in verdicts if not v.passed}
        assert failed == {
            "batch_axis_is_dynamic": f"it fails at {name}: there is no answer"
        }


@pytest.mark.parametrize("nudge", [0.0, 1e-7])
def test_raw_weights_that_equal_the_averaged_ones_are_no_fault(
    nudge: float, small: Checkpoint, small_bytes: bytes, tmp_path: Path
) -> None:
    close = {
        name: value * (1 + nudge) if value.is_floating_point() else value
        for name, value in small.state_dict.items()
    }
    (tmp_path / "model.onnx").write_bytes(small_bytes)
    verdicts = check_model(
        tmp_path / "model.onnx", replace(small, raw_state_dict=close)
    )
    assert [v.message for v in verdicts if not v.passed] == []


def test_a_checkpoint_of_nan_matches_no_model(
    small: Checkpoint, small_bytes: bytes, tmp_path: Path
) -> None:
    bad = {**small.state_dict, "8.bias": torch.full((len(LABELS),), torch.nan)}
    (tmp_path / "model.onnx").write_bytes(small_bytes)
    verdicts = check_model(tmp_path / "model.onnx", replace(small, state_dict=bad))
    assert {v.name for v in verdicts if not v.passed} == {"weights_match_checkpoint"}


@pytest.mark.parametrize("name", GOOD)
def test_the_same_model_written_otherwise_keeps_every_promise(
    name: str, proto: onnx.ModelProto, small: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(GOOD[name](proto, small).SerializeToString())
    assert [v.message for v in check_model(path, small) if not v.passed] == []


@pytest.fixture(scope="session")
def found(
    request: pytest.FixtureRequest,
    small: Checkpoint,
    small_bytes: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Asked]:
    """What each broken model that is asked about answers, or will answer."""
    asked = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.originalname == test_a_broken_model_breaks_its_promise.__name__
    ]
    folders = [tmp_path_factory.mktemp(name) for name in asked]
    for name, folder in zip(asked, folders, strict=True):
        case = BROKEN[name]
        model = onnx.ModelProto.FromString(small_bytes)
        (folder / "model.onnx").write_bytes(case.make(model, small))
        if case.sidecar is not None:
            (folder / "labels_mapping.json").write_text(case.sidecar)

    # Most of the time goes into the children: two at once on two cores.
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: (folder / "model.onnx", pool.submit(observe, folder / "model.onnx"))
            for name, folder in zip(asked, folders, strict=True)
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_breaks_its_promise(
    name: str, found: Asked, small: Checkpoint
) -> None:
    case = BROKEN[name]
    path, answers = found[name]
    mapping = None if case.labels is None else LabelsFile(case.labels)
    judged = judge_model(path, answers.result(), small, mapping)
    verdicts = {verdict.name: verdict for verdict in judged}
    assert not verdicts[case.breaks].passed
    assert case.says in verdicts[case.breaks].message
    kept = {n for n, verdict in verdicts.items() if verdict.passed}
    assert kept >= case.keeps


def test_every_promise_is_broken_in_many_ways() -> None:
    ways = Counter(case.breaks for case in BROKEN.values())
    assert set(ways) == set(NAMES)
    assert min(ways.values()) >= 15
