"""Experiment trackers, read back by their own readers after real trainings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from jersey_assets.training.data.crops import Crops
from jersey_assets.training.errors import TrainingError
from jersey_assets.training.fit import fit
from jersey_assets.training.plan import Plan
from jersey_assets.training.recipe import Recipe
from jersey_assets.training.result import Training
from jersey_assets_tests.training.quick import SIZE, data_of

SCALARS = {"train_loss", "train_top1", "valid_loss", "valid_top1", "valid_top5"}


@pytest.fixture
def logged(labels: list[str], train: Crops, valid: Crops, tmp_path: Path) -> Any:
    def logged(logger: str) -> Training:
        knobs = {"image_size": SIZE, "epochs": 2, "batch_size": 32, "logger": logger}
        recipe = Recipe.model_validate(knobs)
        plan = Plan(recipe, data_of(labels, train, valid))
        return fit(plan, lambda *_: None, logs=tmp_path / "logs")

    return logged


def test_csv_needs_nothing_but_the_history(logged: Any, tmp_path: Path) -> None:
    made = logged("csv")
    assert "logs" not in made.summary
    assert not (tmp_path / "logs").exists()


def test_tensorboard_reads_the_curves(logged: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = logged("tensorboard")
    assert made.summary["logs"] == str(tmp_path / "logs" / "tensorboard")
    (run,) = (tmp_path / "logs" / "tensorboard").iterdir()
    events = EventAccumulator(str(run))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= SCALARS
    values = [event.value for event in events.Scalars("valid_loss")]
    assert values == pytest.approx(made.history["valid_loss"].tolist())
    assert any(tag.startswith("lr-") for tag in events.Tags()["scalars"])


def test_mlflow_reads_the_curves_and_the_recipe(logged: Any, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    made = logged("mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'logs' / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("jersey-assets")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["batch_size"] == "32"
    values = [m.value for m in client.get_metric_history(run.info.run_id, "valid_loss")]
    assert values == pytest.approx(made.history["valid_loss"].tolist())


def test_wandb_writes_its_files_without_a_network(logged: Any, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    made = logged("wandb")
    (file,) = (tmp_path / "logs" / "wandb").rglob("offline-run-*/run-*.wandb")
    # Its records hold names and values as text.
    content = file.read_bytes()
    for name in SCALARS:
        assert name.encode() in content
    for value in made.history["valid_loss"]:
        assert str(value)[:10].encode() in content


@pytest.mark.parametrize("logger", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_named_with_the_extra_to_install(
    logged: Any, logger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python's own mark of a module that cannot be imported.
    monkeypatch.setitem(sys.modules, logger, None)
    with pytest.raises(TrainingError, match=rf"jersey-assets\[{logger}\]"):
        logged(logger)
