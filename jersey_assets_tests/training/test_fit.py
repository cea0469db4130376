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
from jersey_assets.training.checks import verdicts
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.errors import TrainingError
from jersey_assets.training.evaluation import evaluate
from jersey_assets.training.fit import fit
from jersey_assets.training.module import TrainingModule
from jersey_assets.training.plan import Plan
from jersey_assets.training.recipe import Augmentation, Recipe
from jersey_assets.training.result import Training
from jersey_assets_tests.training.quick import MEAN, SIZE, STD, data_of, quick_fit


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
    data = replace(data_of(labels, train, valid), std=(0.0, 0.0, 0.0))
    with pytest.raises(TrainingError, match=r"not finite at step 0 .*learning rate \d"):
        fit(Plan(Recipe(epochs=1), data), lambda *_: None)


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
    with pytest.raises(TrainingError, match="train has 1 crop "):
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


@pytest.mark.parametrize(
    ("gained", "top1", "crops", "flat"),
    [
        ((0.13, 0.01), 0.65, 127, False),
        ((0.04, 0.10), 0.65, 100, False),  # top-1 by chance, the loss not
        ((0.01, 0.0), 0.92, 364, True),
        ((0.05, 0.0), 0.75, 40, True),  # two of 40 crops: chance
        ((0.05, 0.0), 0.75, 4000, False),
        (None, 0.10, 127, False),  # a training of one epoch
    ],
)
def test_a_training_that_ended_while_it_still_learned_is_warned_of(
    training: Training,
    valid: Crops,
    gained: tuple[float, float] | None,
    top1: float,
    crops: int,
    flat: bool,
) -> None:
    rows = torch.arange(crops) % len(valid)
    many = Crops(valid.images[rows], valid.targets[rows], ("",) * crops)
    last = (
        dict(zip(("top1_rise", "loss_fall"), gained, strict=True)) if gained else None
    )
    curve = {"valid_top1": top1, "last_quarter": last, "epochs": 20}
    found = {
        v.name: v for v in verdicts(training.checkpoint, training.summary | curve, many)
    }
    assert found["curve_is_flat"].passed == flat
    assert ("set epochs to about 40" in found["curve_is_flat"].message) != flat
    assert found["curve_is_flat"].severity == "warning"


def test_the_summary_says_what_the_last_quarter_gained(
    labels: list[str], train: Crops, valid: Crops
) -> None:
    made = quick_fit(labels, train, valid, epochs=4)
    top1, loss = made.history["valid_top1"], made.history["valid_loss"]
    assert made.summary["last_quarter"] == {
        "top1_rise": top1.max() - top1[:3].max(),
        "loss_fall": loss[:3].min() - loss.min(),
    }
    assert quick_fit(labels, train, valid, epochs=1).summary["last_quarter"] is None


def test_a_class_that_is_read_far_less_than_the_others_is_named(
    labels: list[str], train: Crops, valid: Crops
) -> None:
    lost, kept = 3, [0, 1, 2, 4, 5]
    rows = torch.isin(train.targets, torch.tensor([lost, *kept])).nonzero().flatten()
    names = tuple(train.names[row] for row in rows)
    shown = Crops(train.images[rows], train.targets[rows], names)
    # It is taught that the crops of one label show another one.
    taught = torch.where(shown.targets == lost, kept[0], shown.targets)
    still = {name: 0 for name in Augmentation.model_fields if name.endswith("_chance")}
    learned = quick_fit(
        labels,
        replace(shown, targets=taught),
        shown,
        epochs=30,
        learning_rate=3e-3,
        augmentation=still,
    )
    found = {v.name: v for v in verdicts(learned.checkpoint, learned.summary, shown)}
    verdict = found["no_class_is_left_behind"]
    count = int((shown.targets == lost).sum())
    assert not verdict.passed
    assert f'"{labels[lost]}": 0 of {count}' in verdict.message
    assert verdict.severity == "warning"
    fair = replace(shown, targets=taught)
    found = {v.name: v for v in verdicts(learned.checkpoint, learned.summary, fair)}
    assert found["no_class_is_left_behind"].passed


def test_the_statistics_are_in_the_checkpoint(training: Training) -> None:
    assert (training.checkpoint.mean, training.checkpoint.std) == (MEAN, STD)


def test_arithmetic_that_only_a_gpu_has_is_refused_without_one(
    labels: list[str], train: Crops, valid: Crops
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match="16-mixed needs a GPU"):
        quick_fit(labels, train, valid, precision="16-mixed")


@pytest.mark.parametrize(("epochs", "steps"), [(60, 60), (167, 1002), (1000, 2000)])
def test_decay_takes_the_same_of_the_weights_in_every_long_training(
    epochs: int, steps: int
) -> None:
    weight = decayed(Recipe(epochs=epochs, weight_decay=0.01), steps, steps)
    torch.testing.assert_close(weight.mean(), torch.tensor(0.99**60), rtol=1e-4, atol=0)


@pytest.mark.parametrize("epochs", [1, 20, 60])
def test_an_epoch_takes_the_share_that_the_recipe_names(epochs: int) -> None:
    weight = decayed(Recipe(epochs=epochs), epochs * 45, 45)
    torch.testing.assert_close(weight, torch.full_like(weight, 0.82))


def decayed(recipe: Recipe, steps: int, taken: int) -> torch.Tensor:
    """What is left of ones after some steps of a training at its highest rate."""
    zeros = (0.0, 0.0, 0.0)
    module = TrainingModule(recipe, ["1", "2"], zeros, zeros, steps, torch.ones(2))
    module.trainer = pl.Trainer(accelerator="cpu", logger=False)
    (optimizer,), _ = module.configure_optimizers()
    weight = module.model.head.weight
    torch.nn.init.ones_(weight)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    for _ in range(taken):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(
    ("crops", "accumulate", "epochs"),
    [(2891, 1, 60), (1001, 1, 67), (407, 1, 167), (407, 2, 334), (20, 1, 1000)],
)
def test_few_crops_are_shown_as_often_as_learning_needs(
    crops: int, accumulate: int, epochs: int
) -> None:
    recipe = Recipe(accumulate=accumulate)
    batches = max(1, crops // recipe.batch_size)
    assert recipe.complete(64, batches).epochs == epochs
    assert Recipe(epochs=3).complete(64, batches).epochs == 3


def test_what_the_recipe_leaves_to_the_data_is_a_number_in_the_result(
    labels: list[str], train: Crops, valid: Crops
) -> None:
    made = quick_fit(labels, train, valid, image_size=None, epochs=1)
    assert made.checkpoint.image_size == SIZE
    assert made.summary["recipe"]["image_size"] == SIZE
    with pytest.raises(ValueError, match="has no image_size"):
        replace(made.checkpoint, recipe=Recipe())


@pytest.mark.parametrize(("weights", "decay"), [("none", 0.18), ("mine", 0.005)])
def test_given_weights_are_kept_where_no_decay_is_named(
    weights: str, decay: float
) -> None:
    assert Recipe(weights=weights).decay == decay
    assert Recipe(weights=weights, weight_decay=0.1).decay == 0.1
