"""The whole graph on real input: every asset and check."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import fsspec
import numpy as np
import pytest

from jersey_assets.definitions import defs
from jersey_assets.labels.file import read_classes
from jersey_assets.reader.session import open_session
from jersey_assets.storage.provenance import walk_provenance
from jersey_assets.storage.store import Store
from jersey_assets_tests.whole_graph import (
    GOOD_RECIPE,
    check_results,
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
