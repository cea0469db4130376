"""The gate: only a model whose parts belong together and that is no worse."""

from __future__ import annotations

import json
import logging
import random
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper, numpy_helper

from jersey_assets.annotations.disk.errors import AnnotationError
from jersey_assets.definitions import defs
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.labels.file import read_classes
from jersey_assets.release import gate
from jersey_assets.release.bundle import Candidate, model_card, write_bundle
from jersey_assets.release.gate import ReleaseError, check_provenance, judge
from jersey_assets.release.gate import decision as decision_of
from jersey_assets.release.publish import publish_or_keep
from jersey_assets.release.releases import (
    one_release_at_a_time,
    roll_back,
    standing_release,
    weights_of,
    withdrawals,
)
from jersey_assets.release.significance import mcnemar, wilson
from jersey_assets.runs.history import broken_blocking_checks
from jersey_assets.storage.answers import read_answers, write_answers
from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.manifest import Artifact, Origin
from jersey_assets.storage.retention import CHECKS
from jersey_assets.storage.store import Store
from jersey_assets.training.checkpoint import load_checkpoint
from jersey_assets.training.data.crops import load_crops, normalize
from jersey_assets.verdict import BLOCKING, Verdict
from jersey_assets_tests.conftest import (
    GOOD_RECIPE,
    TINY_RECIPE,
    check_results,
    hand_over,
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
    found = check_results(whole_run[0])
    first = found["released_model", "not_worse_than_current"]
    assert first.passed
    assert first.description == "there is no intact release to compare with"
    assert found["released_model", "better_than_one_answer"].passed
    assert decision(whole_run[0]).startswith("published, 2")


def decision(result: dg.ExecuteInProcessResult) -> str:
    """What the page of the released model says about the last run."""
    made = result.asset_materializations_for_node("released_model")[0]
    return str(made.metadata["decision"].value)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What stopped a run."""
    (event,) = result.get_step_failure_events()
    assert event.step_failure_data.error is not None
    return str(event.step_failure_data.error.cause or event.step_failure_data.error)


def shuffle_labels(data: Path) -> None:
    """Deals the labels of train to other crops of train."""
    file = data / "train" / "annotations.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    labels = [row["suffix"] for row in rows]
    random.Random(0).shuffle(labels)
    shuffled = [
        row | {"suffix": label} for row, label in zip(rows, labels, strict=True)
    ]
    file.write_text("\n".join(map(json.dumps, shuffled)) + "\n")


def test_a_model_that_reads_nothing_is_not_published_and_the_current_one_stays(
    store: Store, rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    before = store.require("released_model")
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    shuffle_labels(data)
    hand_over(store.root, data)
    result = run_graph(data, store.root, instance, TINY_RECIPE | {"epochs": 1})
    assert not result.success
    found = check_results(result)["released_model", "better_than_one_answer"]
    assert not found.passed
    assert "always answering `" in found.description
    assert found.metadata["p_value"].value > 0.05
    assert f"not published, {before.version} is kept: of 40 crops" in failure(result)
    assert store.versions("released_model") == [before.version]


def test_a_first_model_that_reads_nothing_is_not_published(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = run_graph(rendered, tmp_path, instance, BAD)
    assert not result.success
    assert not check_results(result)["released_model", "better_than_one_answer"].passed
    assert "not published: of 40 crops the model reads" in failure(result)
    assert Store(str(tmp_path)).current("released_model") is None
    (run,) = instance.get_runs()
    # The sensor does not try the same again: it would end the same way.
    assert "better_than_one_answer" in broken_blocking_checks(instance, run.run_id)


def test_a_few_crops_are_not_enough_for_a_first_release(
    store: Store, candidate: Candidate, rendered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "MIN_CROPS", 41)
    verdicts = judge(candidate, None, store, rendered)
    assert not verdicts[0].passed
    assert "40 crops of test cannot prove" in verdicts[0].message
    assert "annotate at least 41 of test" in verdicts[0].message
    told = decision_of(verdicts, None, None)
    assert told == f"not published: {verdicts[0].message}"


def test_what_a_model_proves_is_shown_with_its_interval_and_recall(whole_run) -> None:
    found = check_results(whole_run[0])["released_model", "better_than_one_answer"]
    facts = {name: value.value for name, value in found.metadata.items()}
    store = Store(str(whole_run[1]))
    report = store.require("evaluation_report").json("report.json")
    assert facts["right"] == round(report["top1"] * report["images"])
    assert facts["accuracy_from"] < report["top1"] < facts["accuracy_to"]
    assert facts["recall"] == {
        label: pytest.approx(entry["top1"], abs=1e-4)
        for label, entry in report["per_class"].items()
        if entry["images"]
    }
    assert facts["one_answer_right"] == max(
        entry["images"] for entry in report["per_class"].values()
    )


def reads_every_crop(
    candidate: Candidate, rows: pd.DataFrame, root: Path, path: Path
) -> None:
    """Writes a model that knows the crops by heart: the nearest one's label."""
    original = onnx.load(candidate.onnx_model.file("model.onnx"))
    labels = read_classes(candidate.class_mapping.folder)
    crops = load_crops(root, rows, labels, 32)
    checkpoint = load_checkpoint(candidate.checkpoint.file("model.ckpt"))
    inputs = normalize(crops.images, checkpoint.mean, checkpoint.std)
    known = inputs.reshape(len(crops), -1).numpy()
    nearest = {
        "crops": 2 * known.T,
        "lengths": -(known**2).sum(axis=1),
        "answers": np.eye(len(labels), dtype=np.float32)[crops.targets.numpy()],
    }
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("Gemm", ["flat", "crops", "lengths"], ["closeness"]),
            helper.make_node("Softmax", ["closeness"], ["shares"]),
            helper.make_node("MatMul", ["shares", "answers"], ["logits"]),
        ],
        "by_heart",
        [helper.make_tensor_value_info("input", 1, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", 1, ["batch", len(labels)])],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in nearest.items()
        ],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    properties = {entry.key: entry.value for entry in original.metadata_props}
    helper.set_model_props(model, properties)
    onnx.save(model, path)


def test_a_model_worse_than_the_current_release_is_not_published(
    store: Store,
    candidate: Candidate,
    other_release: Artifact,
    rendered: Path,
    instance: dg.DagsterInstance,
) -> None:
    """The candidate reads some crops, the current release all of them."""
    table = pd.read_parquet(candidate.annotations.file("annotations.parquet"))
    rows = table[table["split"] == "test"]

    def make(folder: Path) -> None:
        write_bundle(candidate, folder)
        reads_every_crop(candidate, rows, rendered, folder / "model.onnx")

    weights = store.read("trained_checkpoint", other_weights(other_release))
    facts = {"dataset": "else|where", "run_id": ""}
    origin = Origin("by heart", (weights,))
    best = store.publish("released_model", origin, make, facts)
    store.point("trained_checkpoint", candidate.checkpoint.version)
    result = run_graph(rendered, store.root, instance, GOOD_RECIPE)
    assert result.success
    found = check_results(result)
    assert found["released_model", "better_than_one_answer"].passed
    worse = found["released_model", "not_worse_than_current"]
    assert not worse.passed
    assert 'release, trained on `"else\\|where"`, 40;' in worse.description
    told = decision(result)
    assert told == f"not published, {best.version} is kept: {worse.description}"
    assert store.require("released_model").version == best.version


def other_weights(release: Artifact) -> str:
    return str(release.manifest["inputs"]["trained_checkpoint"]["version"])


def swap(data: Path, crop: Path, other: Path) -> None:
    crop.write_bytes(other.read_bytes())


def link_outside(data: Path, crop: Path, other: Path) -> None:
    outside = data.parent / "outside.jpg"
    crop.rename(outside)  # the very bytes, but where anybody may change them
    crop.symlink_to(outside)


def link_inside(data: Path, crop: Path, other: Path) -> None:
    crop.unlink()
    crop.symlink_to(other)


@pytest.mark.parametrize("change", [swap, link_outside, link_inside])
def test_a_crop_changed_after_its_validation_stops_the_gate_and_is_named(
    store: Store,
    candidate: Candidate,
    rendered: Path,
    tmp_path: Path,
    change: Callable[[Path, Path, Path], None],
) -> None:
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    crop, other = sorted((data / "test" / "crops").iterdir())[:2]
    change(data, crop, other)
    with pytest.raises(AnnotationError, match=f"test/crops/{crop.name}"):
        judge(candidate, None, store, data)


def test_an_equal_model_is_published(
    store: Store, rendered: Path, candidate: Candidate
) -> None:
    better, equal = judge(candidate, store.require("released_model"), store, rendered)
    assert better.passed
    assert equal.passed
    assert equal.facts["only_current_right"] == 0


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
        {"dataset": "rendered", "run_id": ""},
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
    assert all(v.passed for v in judge(candidate, left, store, rendered))


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


def forget(store: Store, artifact: Artifact) -> None:
    """As if the checks had not run."""
    path = Path(store.root) / artifact.asset / f"{artifact.version}{CHECKS}"
    path.unlink()


def fail(store: Store, artifact: Artifact) -> None:
    """As if one check had failed, in a run that stopped there."""
    said = [
        Verdict(name, name != "output_is_logits", "they are probabilities")
        for name in BLOCKING[artifact.asset]
    ]
    write_answers(store, artifact, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (forget, "has not run on this version"),
        (fail, "failed: they are probabilities"),
    ],
)
def test_a_check_that_failed_or_did_not_run_is_not_gone_round(
    store: Store,
    rendered: Path,
    instance: dg.DagsterInstance,
    change: Callable[[Store, Artifact], None],
    said: str,
) -> None:
    """The model is released alone, by somebody who did not wait for its checks."""
    change(store, store.require("onnx_model"))
    alone = dg.materialize(
        defs.assets,
        selection="released_model",
        instance=instance,
        resources={
            "dataset": Dataset(root=str(rendered)),
            "artifacts": Artifacts(root=store.root),
        },
        raise_on_error=False,
    )
    assert not alone.success
    assert f"output_is_logits of onnx_model {said}" in failure(alone)


def test_a_release_needs_no_dagster(
    store: Store, candidate: Candidate, rendered: Path
) -> None:
    shutil.rmtree(Path(store.root) / "released_model")

    def publish(write: Callable[[Path], None]) -> Artifact:
        origin = Origin("code", candidate.parts())
        return store.publish("released_model", origin, write, {"dataset": "data"})

    first = publish_or_keep(candidate, store, rendered, "first", publish)
    assert first.decision.startswith("published, ")
    assert first.standing() == store.require("released_model")
    second = publish_or_keep(candidate, store, rendered, "second", publish)
    assert second.decision.startswith("unchanged, ")
    assert second.standing() == first.standing()
    better, not_worse = second.verdicts
    unproved = replace(second, verdicts=(replace(better, passed=False), not_worse))
    for outcome in (unproved, replace(second, release=None)):
        with pytest.raises(ReleaseError, match="unchanged, "):
            outcome.standing()


def test_what_a_release_was_held_to_is_noted_beside_it(store: Store) -> None:
    said = read_answers(store, store.require("released_model"))
    assert said["better_than_one_answer"].passed
    assert said["not_worse_than_current"].passed


def test_the_bundle_holds_what_is_deployed(store: Store, candidate: Candidate) -> None:
    release = store.require("released_model")
    model = candidate.onnx_model.file("model.onnx").read_bytes()
    assert release.file("model.onnx").read_bytes() == model
    card = release.file("MODEL_CARD.md").read_text()
    assert candidate.checkpoint.version in card
    assert '| `"00"` |' in card


def test_a_label_cannot_break_the_card(candidate: Candidate) -> None:
    hostile = "|<script>`\n# x\u2028\u202e"
    report = candidate.evaluation.json("report.json")
    entry = next(iter(report["per_class"].values()))
    folder = candidate.evaluation.folder
    (folder / "report.json").write_text(
        json.dumps(report | {"per_class": {hostile: entry}})
    )
    card = model_card(candidate)
    assert "\n# x" not in card
    assert "\\|<script>\\u0060\\n# x\\u2028\\u202e" in card
    assert not {"\u2028", "\u202e"} & set(card)


def test_names_and_recipes_cannot_break_the_card(candidate: Candidate) -> None:
    hostile = "a\u2028# b | [c](d) `e` \u202e\x1b[31m" + "x" * 200
    training = candidate.checkpoint.json("training.json")
    training["recipe"]["model"] = hostile
    file = candidate.checkpoint.file("training.json")
    file.write_text(json.dumps(training))
    manifest = {**candidate.annotations.manifest, "dataset": hostile}
    named = replace(candidate.annotations, manifest=manifest)
    card = model_card(replace(candidate, annotations=named))
    assert card.replace("\n", "").isprintable()
    assert card.count('`"a\\u2028# b \\| [c](d) \\u0060e\\u0060 \\u202e') == 2
    assert "x" * 80 not in card


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
        ({"model_sha256": "0" * 64}, "did not compare the files"),
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


@pytest.mark.parametrize(
    ("right", "crops", "low", "high"),
    # At the ends z² / (n + z²) away from 0 and 1.
    [(0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_stays_within_0_and_1_and_is_wide_for_few_crops(
    right: int, crops: int, low: float, high: float
) -> None:
    assert wilson(right, crops) == pytest.approx((low, high), abs=1e-4)


def test_a_handful_of_crops_is_no_proof(
    store: Store,
    candidate: Candidate,
    rendered: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "MIN_CROPS", 41)
    release = store.require("released_model")
    verdicts = judge(candidate, release, store, rendered)
    assert not any(verdict.passed for verdict in verdicts)
    told = decision_of(verdicts, release, release)
    assert f"not published, {release.version} is kept: 40 crops" in told


def test_the_exact_test_ends_on_a_hundred_thousand_crops() -> None:
    assert mcnemar(50_000, 50_000) == pytest.approx(0.5, abs=0.01)
    assert mcnemar(49_000, 51_000) > 0.999
    assert mcnemar(51_000, 49_000) < 1e-9
