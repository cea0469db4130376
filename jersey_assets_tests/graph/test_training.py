"""The training's part of the graph: when it trains, and by which recipe."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
import torch

from jersey_assets.definitions import defs
from jersey_assets.graph import training
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.labels.file import read_classes
from jersey_assets.storage.store import Store
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.recipe import Recipe
from jersey_assets_tests.graph.datasets import rewrite
from jersey_assets_tests.whole_graph import (
    hand_over,
    run_graph,
)


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


@pytest.mark.slow
def test_a_label_that_the_evaluated_split_lacks_is_reported_as_such(
    data: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    rewrite(data, "test", lambda n, row: None if row["suffix"] == "8" else row)
    artifacts = tmp_path / "artifacts"
    assert run_graph(data, artifacts, instance, until="evaluation_report").success
    report = Store(str(artifacts)).require("evaluation_report").json("report.json")
    assert report["per_class"]["8"] == {"images": 0, "top1": None}


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
