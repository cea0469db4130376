"""The gate: only a model whose parts belong together and that is no worse."""

from __future__ import annotations

import json
import logging
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets.assets import ASSETS
from jersey_assets.checks import CHECKS
from jersey_assets.release import gate
from jersey_assets.release.bundle import Candidate, model_card, write_bundle
from jersey_assets.release.gate import ReleaseError, check_provenance, judge, mcnemar
from jersey_assets.release.history import (
    one_release_at_a_time,
    roll_back,
    standing_release,
    weights_of,
    withdrawals,
)
from jersey_assets.resources import Artifacts, Dataset
from jersey_assets.storage.store import Artifact, Origin, StorageError, Store
from jersey_assets_tests.conftest import (
    GOOD_RECIPE,
    TINY_RECIPE,
    check_results,
    run_graph,
)

# Reads something after seconds; the other has hardly begun.
BAD = TINY_RECIPE | {"epochs": 1, "learning_rate": 1e-7}


@pytest.fixture
def store(whole_run, tmp_path: Path) -> Store:
    assert whole_run[0].success
    return Store(str(shutil.copytree(whole_run[1], tmp_path / "artifacts")))


@pytest.fixture
def candidate(store: Store) -> Candidate:
    return Candidate(
        annotations=store.require("validated_annotations"),
        class_mapping=store.require("class_mapping"),
        checkpoint=store.require("trained_checkpoint"),
        evaluation=store.require("evaluation_report"),
        onnx_model=store.require("onnx_model"),
        parity=store.require("parity_report"),
    )


def test_the_first_model_is_published(whole_run) -> None:
    found = check_results(whole_run[0])["released_model", "not_worse_than_current"]
    assert found.passed
    assert found.description == "published: there is no intact release to compare with"


def decision(result: dg.ExecuteInProcessResult) -> str:
    """What the page of the released model says about the last run."""
    made = result.asset_materializations_for_node("released_model")[0]
    return str(made.metadata["decision"].value)


def test_a_model_of_shuffled_labels_is_not_published_and_the_current_one_stays(
    store: Store, rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    before = store.require("released_model")
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    file = data / "train" / "annotations.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    labels = [row["suffix"] for row in rows]
    random.Random(0).shuffle(labels)
    shuffled = [
        row | {"suffix": label} for row, label in zip(rows, labels, strict=True)
    ]
    file.write_text("\n".join(map(json.dumps, shuffled)) + "\n")
    result = run_graph(
        data, Path(store.root), instance, recipe=TINY_RECIPE | {"epochs": 1}
    )
    assert result.success
    found = check_results(result)["released_model", "not_worse_than_current"]
    assert not found.passed
    assert f"not published, {before.version} stays: of 40 crops" in found.description
    assert decision(result) == found.description
    assert store.require("released_model").version == before.version
    assert store.versions("released_model") == [before.version]


def test_an_equal_model_is_published(
    store: Store, rendered: Path, candidate: Candidate
) -> None:
    verdict = judge(candidate, store.require("released_model"), store, rendered)
    assert verdict.passed
    assert verdict.facts["only_current_right"] == 0


@pytest.mark.slow
def test_an_equal_model_of_another_training_becomes_the_release(
    store: Store, rendered: Path, instance: dg.DagsterInstance
) -> None:
    before = store.require("released_model")
    recipe = GOOD_RECIPE | {"confusion_every": 7}  # another recipe, the same weights
    result = run_graph(rendered, Path(store.root), instance, recipe=recipe)
    assert result.success
    found = check_results(result)["released_model", "not_worse_than_current"]
    assert found.passed
    assert found.metadata["current_version"].value == before.version
    assert found.metadata["new_right"].value == found.metadata["current_right"].value
    assert store.require("released_model").version > before.version


@pytest.fixture
def other_release(store: Store, candidate: Candidate) -> Artifact:
    """A release of the same files, made from other weights."""
    weights = store.publish(
        "trained_checkpoint",
        Origin("other"),
        lambda folder: (folder / "model.ckpt").write_text("other"),
    )
    before = store.require("released_model")
    made = store.publish(
        "released_model",
        Origin("other", (weights,)),
        lambda folder: write_bundle(candidate, folder),
    )
    store.point("trained_checkpoint", candidate.checkpoint.version)
    store.point("released_model", before.version)
    return made


def test_a_run_that_changes_nothing_does_not_undo_a_rollback(
    store: Store,
    candidate: Candidate,
    other_release: Artifact,
    rendered: Path,
    instance: dg.DagsterInstance,
) -> None:
    left = store.require("released_model")
    roll_back(store, other_release.version)
    result = run_graph(rendered, Path(store.root), instance, recipe=GOOD_RECIPE)
    assert result.success
    assert store.require("released_model").version == other_release.version
    assert left.version in decision(result)
    assert f"releases rollback {left.version}" in decision(result)

    roll_back(store, left.version)
    assert judge(candidate, left, store, rendered).passed


def test_of_two_candidates_the_second_is_judged_against_what_the_first_published(
    store: Store,
    other_release: Artifact,
    rendered: Path,
    instance: dg.DagsterInstance,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = Path(store.root)
    caplog.set_level(logging.INFO, "jersey_assets.storage.lock")
    with ThreadPoolExecutor(1) as pool:
        with one_release_at_a_time(store, "the first"):
            second = pool.submit(run_graph, rendered, root, instance, GOOD_RECIPE)
            while "held by" not in caplog.text:
                assert not second.done()
                time.sleep(0.1)
            store.point("released_model", other_release.version)
        result = second.result()
    assert result.success
    found = check_results(result)["released_model", "not_worse_than_current"]
    assert found.metadata["current_version"].value == other_release.version


def test_going_back_withdraws_all_later_releases_and_taking_back_only_one(
    store: Store, candidate: Candidate, other_release: Artifact
) -> None:
    first = store.require("released_model")
    assert first.version < other_release.version
    roll_back(store, other_release.version)
    assert set(withdrawals(store)) == {weights_of(first)}
    roll_back(store, first.version)
    assert set(withdrawals(store)) == {weights_of(other_release)}
    with pytest.raises(StorageError, match="has no version"):
        roll_back(store, "../trained_checkpoint")
    assert set(withdrawals(store)) == {weights_of(other_release)}


def test_a_candidate_has_to_beat_the_release_before_a_damaged_one(
    store: Store, other_release: Artifact
) -> None:
    damaged = store.require("released_model")
    damaged.file("model.onnx").write_bytes(b"")
    standing = standing_release(store)
    assert standing is not None
    assert standing.version == other_release.version
    assert store.require("released_model").version == other_release.version
    other_release.file("model.onnx").write_bytes(b"")
    assert standing_release(store) is None


def test_a_failed_check_of_an_earlier_run_is_not_gone_round(
    store: Store, rendered: Path, instance: dg.DagsterInstance
) -> None:
    """The model is exported without its checks, and then released alone."""

    def materialize(*selection: str) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [*ASSETS, *CHECKS],
            selection=dg.AssetSelection.assets(*selection).without_checks()
            if "released_model" not in selection
            else selection,
            instance=instance,
            resources={
                "dataset": Dataset(root=str(rendered)),
                "artifacts": Artifacts(root=store.root),
            },
            raise_on_error=False,
        )

    assert materialize("onnx_model", "parity_report").success
    alone = materialize("released_model")
    assert not alone.success
    (failure,) = alone.get_step_failure_events()
    said = str(failure.step_failure_data.error)
    assert "output_is_logits of onnx_model has not run on this version" in said


def test_the_bundle_holds_what_is_deployed(store: Store, candidate: Candidate) -> None:
    release = store.require("released_model")
    model = candidate.onnx_model.file("model.onnx").read_bytes()
    assert release.file("model.onnx").read_bytes() == model
    card = release.file("MODEL_CARD.md").read_text()
    assert candidate.checkpoint.version in card
    assert '| `"00"` |' in card


def test_a_label_cannot_break_the_card(candidate: Candidate) -> None:
    hostile = "|<script>`\n# x"
    report = candidate.evaluation.json("report.json")
    entry = next(iter(report["per_class"].values()))
    folder = candidate.evaluation.folder
    (folder / "report.json").write_text(
        json.dumps(report | {"per_class": {hostile: entry}})
    )
    card = model_card(candidate)
    assert "\n# x" not in card
    assert "\\|<script>" in card


def test_parts_of_two_runs_are_not_released(
    store: Store, rendered: Path, candidate: Candidate, instance: dg.DagsterInstance
) -> None:
    run_graph(
        rendered, Path(store.root), instance, recipe=BAD, until="evaluation_report"
    )
    mixed = replace(candidate, evaluation=store.require("evaluation_report"))
    with pytest.raises(ReleaseError, match="materialize the whole chain again"):
        check_provenance(mixed, store)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passed": False}, "onnxruntime and PyTorch differ"),
        ({"model_sha256": "0" * 64}, "compares other files"),
    ],
)
def test_a_broken_parity_report_is_not_released(
    store: Store, candidate: Candidate, change: dict[str, object], message: str
) -> None:
    report = candidate.parity.json("report.json") | change
    inputs = tuple(
        store.read(asset, entry["version"])
        for asset, entry in candidate.parity.manifest["inputs"].items()
    )
    broken = store.publish(
        "parity_report",
        Origin("broken", inputs),
        lambda folder: (folder / "report.json").write_text(json.dumps(report)),
    )
    with pytest.raises(ReleaseError, match=message):
        check_provenance(replace(candidate, parity=broken), store)


@pytest.mark.parametrize(
    ("lost", "won", "chance"),
    [(0, 0, 1.0), (1, 0, 0.5), (5, 0, 1 / 32), (0, 5, 1.0), (3, 1, 5 / 16)],
)
def test_mcnemar_is_the_exact_binomial_tail(lost: int, won: int, chance: float) -> None:
    assert mcnemar(lost, won) == pytest.approx(chance)


def test_a_handful_of_crops_is_no_proof(
    store: Store,
    candidate: Candidate,
    rendered: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "MIN_CROPS", 41)
    verdict = judge(candidate, store.require("released_model"), store, rendered)
    assert not verdict.passed
    assert "40 crops of test are too few" in verdict.message
