"""The gate: only a model that proves that it reads, and that is no worse."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper, numpy_helper

from jersey_assets.labels.file import read_classes
from jersey_assets.release import gate
from jersey_assets.release.bundle import Candidate, write_bundle
from jersey_assets.release.gate import decision as decision_of
from jersey_assets.release.gate import judge
from jersey_assets.runs.history import broken_blocking_checks
from jersey_assets.storage.manifest import Artifact, Origin
from jersey_assets.storage.store import Store
from jersey_assets.training.checkpoint import load_checkpoint
from jersey_assets.training.data.crops import load_crops, normalize
from jersey_assets_tests.release.candidates import BAD, decision, failure, other_weights
from jersey_assets_tests.whole_graph import (
    GOOD_RECIPE,
    TINY_RECIPE,
    check_results,
    hand_over,
    run_graph,
)


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
