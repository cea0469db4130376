"""Training: real Lightning fits on small crops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from pydantic import ValidationError

from jersey_assets.training.checkpoint import load_checkpoint
from jersey_assets.training.crops import Crops
from jersey_assets.training.errors import TrainingError
from jersey_assets.training.evaluation import evaluate
from jersey_assets.training.fit import Training, fit
from jersey_assets.training.module import TrainingModule
from jersey_assets.training.promises import verdicts
from jersey_assets.training.recipe import Augmentation, Recipe
from jersey_assets_tests.training.conftest import STATISTICS, quick_fit


def test_the_checkpoints_weights_give_the_accuracy_it_is_named_for(
    training: Training, valid: Crops
) -> None:
    seen = evaluate(training.checkpoint, "valid", valid)
    assert seen.top1 == pytest.approx(training.checkpoint.valid_top1)
    assert seen.loss == pytest.approx(training.checkpoint.valid_loss, rel=1e-4)


def test_the_kept_epoch_is_the_best_of_the_history(training: Training) -> None:
    best = training.history["valid_top1"].max()
    assert training.summary["valid_top1"] == best
    kept = training.history.set_index("epoch").loc[training.summary["best_epoch"]]
    assert kept["valid_top1"] == best


def test_the_summary_has_what_readers_rely_on(training: Training) -> None:
    assert {
        "valid_top1",
        "valid_top5",
        "epochs",
        "seconds",
        "images_per_second",
        "ema_step",
        "parameters",
        "flops",
        "recipe",
    } <= set(training.summary)
    steps_per_epoch = 160 // 32
    steps = training.summary["best_epoch"] * steps_per_epoch
    assert training.summary["ema_step"] == steps
    json.dumps(training.summary)


def test_the_same_seed_gives_the_same_weights(
    labels: list[str], train: Crops, valid: Crops, training: Training
) -> None:
    again = quick_fit(labels, train, valid)
    other = quick_fit(labels, train, valid, seed=1)
    for name, value in training.checkpoint.state_dict.items():
        assert torch.equal(value, again.checkpoint.state_dict[name])
    assert any(
        not torch.equal(value, other.checkpoint.state_dict[name])
        for name, value in training.checkpoint.state_dict.items()
    )


def test_training_learns(labels: list[str], train: Crops) -> None:
    steps = Augmentation.model_fields
    still = {name: 0 for name in steps if name.endswith("_chance")}
    learned = quick_fit(
        labels, train, train, epochs=20, learning_rate=3e-3, augmentation=still
    )
    assert learned.summary["valid_top1"] > 0.5


@pytest.mark.parametrize("knobs", [{"precision": "bf16-mixed"}, {"model": "resnet18"}])
def test_other_precisions_and_networks_train(
    labels: list[str], train: Crops, valid: Crops, knobs: dict[str, str]
) -> None:
    made = quick_fit(labels, train, valid, epochs=1, **knobs)
    for verdict in verdicts(made.checkpoint, made.summary, valid)[:2]:
        assert verdict.passed, verdict.message


def test_patience_stops_early(labels: list[str], train: Crops, valid: Crops) -> None:
    stopped = quick_fit(labels, train, valid, epochs=30, learning_rate=1e-9, patience=2)
    assert stopped.summary["epochs"] < 30


def test_a_rise_below_min_delta_does_not_count_for_patience(
    labels: list[str], train: Crops, valid: Crops
) -> None:
    stopped = quick_fit(labels, train, valid, epochs=9, patience=2, min_delta=0.99)
    assert stopped.summary["epochs"] == 3
    with pytest.raises(ValidationError, match="no effect with patience: 0"):
        Recipe(min_delta=0.01)


def test_a_loss_that_is_not_finite_stops_with_step_and_rate(
    labels: list[str], train: Crops, valid: Crops
) -> None:
    without_spread = {"mean": [0.5] * 3, "std": [0.0] * 3}
    with pytest.raises(TrainingError, match=r"not finite at step 0 .*learning rate \d"):
        fit(Recipe(epochs=1), labels, train, valid, without_spread, lambda *_: None)


def test_a_dataset_smaller_than_a_batch_still_trains(
    labels: list[str], train: Crops, valid: Crops
) -> None:
    few = Crops(train.images[:10], train.targets[:10], train.names[:10])
    made = quick_fit(labels, few, valid, epochs=1, batch_size=64)
    assert made.summary["ema_step"] == 1


def test_nothing_to_train_on_is_an_error_with_the_size(
    labels: list[str], train: Crops, valid: Crops
) -> None:
    one = Crops(train.images[:1], train.targets[:1], train.names[:1])
    with pytest.raises(TrainingError, match="1 crops"):
        quick_fit(labels, one, valid)


def test_written_files_are_read_back(training: Training, tmp_path: Path) -> None:
    training.write(tmp_path)
    read = load_checkpoint(tmp_path / "model.ckpt")
    bare = {"sha256": "", "state_dict": {}, "raw_state_dict": {}}
    assert replace(read, **bare) == replace(training.checkpoint, **bare)
    for name, value in training.checkpoint.state_dict.items():
        assert torch.equal(value, read.state_dict[name])
    for name in ("curves", "augmented"):
        assert (tmp_path / f"{name}.png").stat().st_size > 1_000
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 3


def test_raw_weights_in_the_averages_place_are_noticed(
    training: Training, valid: Crops
) -> None:
    swapped = replace(
        training.checkpoint, state_dict=training.checkpoint.raw_state_dict
    )
    found = {v.name: v for v in verdicts(swapped, training.summary, valid)}
    assert not found["checkpoint_holds_ema_weights"].passed
    assert found["weights_are_finite"].passed


def test_always_answering_one_label_is_warned_of(
    training: Training, valid: Crops
) -> None:
    summary = training.summary | {"valid_top1": 0.0}
    found = {v.name: v for v in verdicts(training.checkpoint, summary, valid)}
    assert not found["beats_majority_class"].passed
    assert found["beats_majority_class"].severity == "warning"


def test_the_statistics_are_in_the_checkpoint(training: Training) -> None:
    assert list(training.checkpoint.mean) == STATISTICS["mean"]
    assert list(training.checkpoint.std) == STATISTICS["std"]


def test_arithmetic_that_only_a_gpu_has_is_refused_without_one(
    labels: list[str], train: Crops, valid: Crops
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match="16-mixed needs a GPU"):
        quick_fit(labels, train, valid, precision="16-mixed")


@pytest.mark.parametrize(("batches", "accumulate"), [(1, 1), (7, 1), (7, 3)])
def test_an_epoch_of_decay_takes_the_share_that_the_recipe_names(
    batches: int, accumulate: int
) -> None:
    recipe = Recipe(weight_decay=0.3, warmup=0, accumulate=accumulate, epochs=1)
    zeros = (0.0, 0.0, 0.0)
    module = TrainingModule(recipe, ["1", "2"], zeros, zeros, batches, torch.ones(2))
    module.trainer = pl.Trainer(accelerator="cpu", logger=False)
    (optimizer,), _ = module.configure_optimizers()
    weight = module.model.head.weight
    before = weight.detach().clone()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    for _ in range(module.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate
        optimizer.step()
    torch.testing.assert_close(weight.detach(), 0.7 * before)


@pytest.mark.parametrize(("weights", "decay"), [("none", 0.18), ("mine", 0.005)])
def test_given_weights_are_kept_where_no_decay_is_named(
    weights: str, decay: float
) -> None:
    assert Recipe(weights=weights).decay == decay
    assert Recipe(weights=weights, weight_decay=0.1).decay == 0.1
