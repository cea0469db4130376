"""The graph on real input: every asset and check, good data and bad."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import fsspec
import numpy as np
import pandas as pd
import pytest
import torch

from jersey_assets.definitions import defs
from jersey_assets.graph import annotations, training
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.labels.file import read_classes
from jersey_assets.reader.session import open_session
from jersey_assets.storage.provenance import walk_provenance
from jersey_assets.storage.store import Store
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.recipe import Recipe
from jersey_assets_tests.conftest import (
    GOOD_RECIPE,
    REAL_DATA,
    check_results,
    hand_over,
    materialized,
    run_graph,
)

ALL_ASSETS = {
    "validated_annotations",
    "rejected_annotations",
    "class_mapping",
    "dataset_statistics",
    "rendered_crops",
    "trained_checkpoint",
    "evaluation_report",
    "onnx_model",
    "parity_report",
    "int8_model",
    "released_model",
}
FILES = {
    "validated_annotations": {"annotations.parquet", "summary.json"},
    "rejected_annotations": {"rejected.parquet"},
    "class_mapping": {"labels_mapping.json"},
    "dataset_statistics": {"statistics.json", "classes.png", "sizes.png"},
    "rendered_crops": {"crops.parquet"},
    "trained_checkpoint": {
        "model.ckpt",
        "training.json",
        "history.csv",
        "curves.png",
        "augmented.png",
        "confusion.png",
    },
    "evaluation_report": {
        "report.json",
        "confusion.png",
        "predictions.png",
        "grad_cam.png",
    },
    "onnx_model": {"model.onnx", "labels_mapping.json"},
    "parity_report": {"report.html", "report.json", "errors.png", "latency.png"},
    "int8_model": {"model.onnx", "labels_mapping.json", "report.json"},
    "released_model": {"model.onnx", "labels_mapping.json", "MODEL_CARD.md"},
}


@pytest.fixture(scope="module")
def run(whole_run) -> tuple[dg.ExecuteInProcessResult, Store]:
    return whole_run[0], Store(str(whole_run[1]))


def rewrite(data: Path, split: str, change: object) -> None:
    """Passes each row of a split through a function; None removes the row."""
    path = data / split / "annotations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    changed = [change(number, row) for number, row in enumerate(rows)]  # type: ignore[operator]
    lines = [json.dumps(row) for row in changed if row is not None]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def data(rendered: Path, tmp_path: Path) -> Path:
    """A copy of the rendered dataset that a test may break."""
    return Path(shutil.copytree(rendered, tmp_path / "data"))


def test_every_asset_is_made_with_its_files(run) -> None:
    result, store = run
    assert result.success
    assert materialized(result) == ALL_ASSETS
    for asset, files in FILES.items():
        assert files <= set(store.require(asset).manifest["files"])


def test_the_checks_that_report_are_the_checks_that_are_declared(run) -> None:
    result, _ = run
    declared = {
        (key.asset_key.to_user_string(), key.name)
        for key in defs.resolve_asset_graph().asset_check_keys
    }
    assert set(check_results(result)) == declared


def test_no_blocking_check_fails_on_good_data(run) -> None:
    result, _ = run
    failed = [found for found in check_results(result).values() if not found.passed]
    assert {found.severity for found in failed} <= {dg.AssetCheckSeverity.WARN}


def test_the_data_version_is_the_artifacts_digest(run) -> None:
    result, store = run
    for event in result.get_asset_materialization_events():
        version = event.materialization.tags["dagster/data_version"]
        assert version == store.require(event.asset_key.to_user_string()).digest


def test_the_page_shows_pictures_and_tables_of_the_training(run) -> None:
    result, _ = run
    shown = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    training, evaluation = shown["trained_checkpoint"], shown["evaluation_report"]
    for metadata, pictures in (
        (training, ("curves", "confusion", "augmented")),
        (evaluation, ("confusion", "per_class", "predictions", "grad_cam")),
    ):
        for name in pictures:
            assert "(data:image/png;base64," in metadata[name].value
    for metadata, name, column in (
        (training, "draws", "crops shown in training"),
        (training, "layers", "flops"),
        (training, "kept", "valid_top1"),
        (evaluation, "accuracy_by_label", "top1"),
    ):
        assert column in {c.name for c in metadata[name].schema.columns}
        assert metadata[name].records


def test_provenance_leads_from_the_release_to_the_annotations(run) -> None:
    _, store = run
    release = store.require("released_model")
    walked = {artifact.asset: artifact for artifact in walk_provenance(store, release)}
    assert set(walked) == ALL_ASSETS - {"rejected_annotations", "int8_model"}
    summary = walked["validated_annotations"].json("summary.json")
    assert release.manifest["dataset_fingerprint"] == summary["fingerprint"]
    assert release.manifest["recipe_hash"]


def test_the_model_names_the_run_that_exported_it(run) -> None:
    result, store = run
    model = store.require("released_model").file("model.onnx")
    session = open_session(Path(model).read_bytes())
    said = session.get_modelmeta().custom_metadata_map
    assert said["jersey.run_id"] == result.run_id
    manifest = store.require("trained_checkpoint").manifest
    for key in ("dataset_fingerprint", "recipe_hash", "code_version"):
        assert said[f"jersey.{key}"] == manifest[key]


@pytest.mark.parametrize("batch", [1, 2, 3, 17])
def test_the_released_model_gives_logits_for_any_batch(run, batch: int) -> None:
    _, store = run
    model = store.require("released_model").file("model.onnx")
    session = open_session(Path(model).read_bytes())
    images = np.random.default_rng(0).normal(size=(batch, 3, 32, 32))
    (logits,) = session.run(["logits"], {"input": images.astype(np.float32)})
    mapping = read_classes(store.require("class_mapping").folder)
    assert logits.shape == (batch, len(mapping))


def test_a_run_that_nothing_changed_for_does_nothing_new(
    whole_run, rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    store = Store(str(shutil.copytree(whole_run[1], tmp_path / "artifacts")))
    versions = {asset: store.versions(asset) for asset in ALL_ASSETS}
    second = run_graph(rendered, store.root, instance, GOOD_RECIPE)
    assert second.success
    assert materialized(second) == ALL_ASSETS
    for asset in ALL_ASSETS:
        assert store.versions(asset) == versions[asset]
    unchanged = [
        event.materialization.metadata["unchanged"].value
        for event in second.get_asset_materialization_events()
    ]
    assert unchanged == [True] * len(ALL_ASSETS)
    (release,) = second.asset_materializations_for_node("released_model")
    said = f"unchanged, {versions['released_model'][0]} was published"
    assert str(release.metadata["headline"].value).startswith(said)
    assert str(release.metadata["decision"].value).startswith(said)


def test_the_annotations_are_linked_to_the_files_that_the_run_read(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    run_graph(rendered, tmp_path, instance, until="validated_annotations")
    summary = Store(str(tmp_path)).require("validated_annotations").json("summary.json")
    for asset in ("validated_annotations", "rejected_annotations"):
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        tags = event.asset_materialization.tags
        read = tags["dagster/input_data_version/annotation_files"]
        assert read == summary["fingerprint"]


@pytest.mark.slow
def test_the_graph_runs_where_data_and_artifacts_are_no_files(
    rendered: Path,
    instance: dg.DagsterInstance,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data, root = f"{bucket}/data", f"{bucket}/artifacts"
    fsspec.filesystem("s3").put(str(rendered), data, recursive=True)
    assert run_graph(data, root, instance, GOOD_RECIPE).success
    assert Store(root).require("released_model").file("model.onnx").is_file()


def test_relabelling_one_crop_retrains(
    whole_run, data: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    artifacts = Path(shutil.copytree(whole_run[1], tmp_path / "artifacts"))
    hand_over(artifacts, data)
    before = Store(str(artifacts)).require("trained_checkpoint")
    rewrite(data, "train", lambda n, row: row | {"suffix": "8"} if n == 3 else row)
    assert run_graph(data, artifacts, instance, until="trained_checkpoint").success
    after = Store(str(artifacts)).require("trained_checkpoint")
    assert after.version != before.version
    fingerprint = "dataset_fingerprint"
    assert after.manifest[fingerprint] != before.manifest[fingerprint]


def test_a_crop_replaced_behind_the_same_annotations_is_seen(
    data: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    artifacts = tmp_path / "artifacts"
    run_graph(data, artifacts, instance, until="validated_annotations")
    before = Store(str(artifacts)).require("validated_annotations")
    first, second = sorted((data / "train" / "crops").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    run_graph(data, artifacts, instance, until="validated_annotations")
    assert Store(str(artifacts)).require("validated_annotations") != before


@pytest.mark.slow
def test_a_label_that_the_evaluated_split_lacks_is_reported_as_such(
    data: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    rewrite(data, "test", lambda n, row: None if row["suffix"] == "8" else row)
    artifacts = tmp_path / "artifacts"
    assert run_graph(data, artifacts, instance, until="evaluation_report").success
    report = Store(str(artifacts)).require("evaluation_report").json("report.json")
    assert report["per_class"]["8"] == {"images": 0, "top1": None}


def break_labels(data: Path) -> None:
    rewrite(data, "train", lambda n, row: row | {"suffix": "x"} if n % 3 == 0 else row)


def list_twice(data: Path) -> None:
    path = data / "train" / "annotations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    other = {"8": "9"}
    twice = [row | {"suffix": other.get(row["suffix"], "8")} for row in rows[:60]]
    path.write_text("\n".join(json.dumps(row) for row in rows + twice) + "\n")


def label_unseen(data: Path) -> None:
    rewrite(data, "valid", lambda n, row: row | {"suffix": "77"})


def leak(data: Path) -> None:
    for crop in (data / "train" / "crops").iterdir():
        shutil.copy(crop, data / "valid" / "crops" / f"copy-{crop.name}")
    train = (data / "train" / "annotations.jsonl").read_text()
    with (data / "valid" / "annotations.jsonl").open("a") as file:
        for line in train.splitlines()[:80]:
            row = json.loads(line)
            name = f"crops/copy-{Path(row['image']).name}"
            file.write(json.dumps(row | {"image": name}) + "\n")


def empty_valid(data: Path) -> None:
    shutil.rmtree(data / "valid")


@pytest.mark.parametrize(
    ("breaking", "check"),
    [
        (break_labels, "rejected_rows_within_budget"),
        (list_twice, "no_conflicting_labels"),
        (label_unseen, "labels_known_in_train"),
        (leak, "no_split_leakage"),
        (empty_valid, "every_split_has_rows"),
    ],
)
def test_a_broken_dataset_is_refused_before_anything_is_trained(
    data: Path, tmp_path: Path, instance: dg.DagsterInstance, breaking, check: str
) -> None:
    breaking(data)
    result = run_graph(data, tmp_path / "artifacts", instance)
    assert not result.success
    assert not check_results(result)["validated_annotations", check].passed
    assert materialized(result) == {"validated_annotations", "rejected_annotations"}


def test_whatever_computes_on_the_gpu_is_in_its_pool_and_asks_for_it() -> None:
    nodes = [
        training.trained_checkpoint.op,
        training.evaluation_report.op,
        training.checkpoint_checks.node_def,
    ]
    for node in nodes:
        assert node.pools == {"gpu"}
        assert "nvidia.com/gpu" in json.dumps(dict(node.tags))
    graph = defs.resolve_asset_graph()
    assert {"gpu", "pytorch"} <= graph.get(dg.AssetKey("trained_checkpoint")).kinds


@pytest.mark.parametrize("config", [{"model": "vgg"}, {"epoch": 3}, {"epochs": 0}])
def test_a_recipe_that_no_training_could_follow_is_refused_at_launch(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance, config
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=next(iter(config))):
        run_graph(rendered, tmp_path, instance, recipe=config)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_training_starts_from_weights_beside_the_artifacts(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    recipe = {"epochs": 1, "image_size": 32, "weights": "start"}
    config = {"ops": {"trained_checkpoint": {"config": recipe}}}

    def train() -> dg.ExecuteInProcessResult:
        return dg.materialize(
            defs.assets,
            selection=dg.AssetSelection.assets("trained_checkpoint")
            .upstream()
            .required_multi_asset_neighbors(),
            instance=instance,
            resources={
                "dataset": Dataset(root=str(rendered)),
                "artifacts": Artifacts(root=str(tmp_path)),
            },
            run_config=config,
            raise_on_error=False,
        )

    missing = train()
    (failure,) = missing.get_step_failure_events()
    assert failure.step_key == "trained_checkpoint"
    assert "start.pt or start.ckpt" in str(failure.step_failure_data.error)
    store = Store(str(tmp_path))
    mapping = read_classes(store.require("class_mapping").folder)
    (tmp_path / "weights").mkdir()
    network = build_model(Recipe(), list(mapping))
    torch.save(network.state_dict(), tmp_path / "weights" / "start.pt")
    assert train().success
    summary = store.require("trained_checkpoint").json("training.json")
    assert summary["weights"]["left"] == []
    settings = store.require("trained_checkpoint").manifest["settings"]
    assert settings["weights_sha256"] == summary["weights"]["sha256"]


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no real data here")
@pytest.mark.parametrize("policy", ["reject", "prefer_number"])
def test_real_conflicts_are_named_and_no_image_is_lost(
    tmp_path: Path, policy: str
) -> None:
    result = dg.materialize(
        [annotations.annotation_files, annotations.annotations],
        resources={
            "dataset": Dataset(
                root=str(REAL_DATA / "basketball"), conflict_policy=policy
            ),
            "artifacts": Artifacts(root=str(tmp_path)),
        },
    )
    assert result.success
    store = Store(str(tmp_path))
    kept = pd.read_parquet(
        store.require("validated_annotations").file("annotations.parquet")
    )
    rejected = pd.read_parquet(
        store.require("rejected_annotations").file("rejected.parquet")
    )
    conflicts = rejected[rejected["reason"] == "label.conflict"]
    assert conflicts["line"].min() > 0
    if policy == "reject":
        assert (len(kept), len(conflicts)) == (3208, 94)
    else:
        assert (len(kept), len(conflicts)) == (2891 + 364, 47)
        assert set(conflicts["label"]) == {""}
