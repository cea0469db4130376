"""A whole training, from the files that it reads to the files that it leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import jersey_assets
from jersey_assets.annotations.disk.errors import AnnotationError
from jersey_assets.labels.filling import Filling, draw_missing
from jersey_assets.labels.mapping import class_mapping
from jersey_assets.storage.code_version import code_version
from jersey_assets.training.checkpoint import load_checkpoint
from jersey_assets.training.data.crops import natural_size
from jersey_assets.training.epochs import Epoch
from jersey_assets.training.errors import (
    Interrupted,
    TrainingError,
    would_fail_again,
)
from jersey_assets.training.fit_or_resume import (
    TrainingInputs,
    fit_or_resume,
    one_training,
)
from jersey_assets.training.network.pretrained import Pretrained
from jersey_assets.training.recipe import Recipe
from jersey_assets_tests.training.quick import MEAN, SIZE, STD

KNOBS = {"image_size": SIZE, "epochs": 3, "batch_size": 32, "threads": 1}


def ignore(epoch: Epoch, epochs: int) -> None:
    """Reports to nobody."""


def interrupt(epoch: Epoch, epochs: int) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def inputs(
    rendered: Path, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> TrainingInputs:
    folder = tmp_path_factory.mktemp("inputs")
    table.to_parquet(folder / "annotations.parquet")
    mapping = class_mapping(table)
    drawn = draw_missing(Filling(fill_to=2), dict.fromkeys(mapping, 1), print)
    drawn.to_parquet(folder / "crops.parquet")
    return TrainingInputs(
        Recipe.model_validate(KNOBS),
        None,
        rendered,
        annotations=folder / "annotations.parquet",
        drawn=folder / "crops.parquet",
        mapping=mapping,
        statistics={"mean": MEAN, "std": STD},
    )


@pytest.fixture(scope="module")
def whole(inputs: TrainingInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a training that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    fit_or_resume(inputs, tmp_path_factory.mktemp("scratch"), ignore, folder)
    return folder


def test_train_has_the_drawn_crops_and_valid_has_none(
    inputs: TrainingInputs, table: pd.DataFrame
) -> None:
    data = inputs.load().data
    splits = table["split"].value_counts()
    drawn = len(pd.read_parquet(inputs.drawn))
    assert drawn > 0
    assert len(data.train) == splits["train"] + drawn
    assert len(data.valid) == splits["valid"]
    assert data.labels == tuple(inputs.mapping)
    assert (data.mean, data.std) == (MEAN, STD)


def test_the_crops_choose_a_size_that_the_recipe_leaves_open(
    inputs: TrainingInputs, table: pd.DataFrame
) -> None:
    open_size = replace(inputs, recipe=Recipe())
    expected = natural_size(table[table["split"] == "train"])
    assert open_size.load().recipe.image_size == expected
    assert inputs.load().recipe.image_size == SIZE


def test_an_image_that_changed_since_it_was_validated_is_refused(
    inputs: TrainingInputs, table: pd.DataFrame, tmp_path: Path
) -> None:
    changed = tmp_path / "annotations.parquet"
    table.assign(image_sha256="0" * 64).to_parquet(changed)
    with pytest.raises(AnnotationError):
        replace(inputs, annotations=changed).load()


def test_the_result_is_the_files_that_readers_know(whole: Path) -> None:
    summary = json.loads((whole / "training.json").read_text())
    others = {entry["file"] for entry in summary["kept"]}
    assert {path.name for path in whole.iterdir()} == others | {
        "training.json",
        "history.csv",
        "curves.png",
        "augmented.png",
        "confusion.png",
    }
    assert len(pd.read_csv(whole / "history.csv")) == 3


def test_a_stopped_training_goes_on_in_the_next_call_to_the_same_weights(
    inputs: TrainingInputs, whole: Path, tmp_path: Path
) -> None:
    scratch, result = tmp_path / "scratch", tmp_path / "result"
    result.mkdir()
    with pytest.raises(Interrupted), one_training(scratch, "one"):
        fit_or_resume(inputs, scratch, interrupt, result)
    assert not list(result.iterdir())
    seen: list[int] = []
    with one_training(scratch, "two"):
        fit_or_resume(
            inputs, scratch, lambda epoch, _: seen.append(epoch.epoch), result
        )
        assert list((scratch / "training").iterdir())
    assert seen == [2, 3]
    assert not list((scratch / "training").iterdir())
    made, expected = (load_checkpoint(f / "model.ckpt") for f in (result, whole))
    for name, value in expected.state_dict.items():
        assert torch.equal(made.state_dict[name], value)


def test_the_weights_to_start_from_are_among_the_settings(
    inputs: TrainingInputs,
) -> None:
    recipe = Recipe(weights="mine")
    weights = [
        Pretrained("mine", {"head.bias": torch.full((3,), value)}, None)
        for value in (0.0, 1.0)
    ]
    one, two = (replace(inputs, recipe=recipe, weights=w) for w in weights)
    assert one.settings["weights_sha256"] == weights[0].digest()
    assert len({i.recipe_hash for i in (inputs, one, two)}) == 3
    assert "weights_sha256" not in inputs.settings


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TrainingError("the loss is not finite"), True),
        (AnnotationError("another image"), True),
        (ValueError("a recipe that contradicts itself"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("CUDA error: device lost"), False),
        (MemoryError(), False),
    ],
)
def test_wrong_data_would_fail_again_and_a_faulty_machine_may_not(
    error: Exception, again: bool
) -> None:
    assert would_fail_again(error) == again


@pytest.mark.parametrize("maker", ["training.fit", "training.fit_or_resume"])
def test_code_that_makes_the_checkpoint_is_in_its_code_version(
    tmp_path: Path, maker: str
) -> None:
    before = code_version(maker)
    for name in (
        "trainer.py",
        "plan.py",
        "callbacks/ema.py",
        "callbacks/saving.py",
        "data/crops.py",
        "network/architectures.py",
        "augment/augmentation.py",
    ):
        package = tmp_path / name / "jersey_assets"
        shutil.copytree(Path(jersey_assets.__file__).parent, package)
        with (package / "training" / name).open("a") as file:
            file.write("\nADDED = 1\n")
        assert code_version(maker, package=package) != before, name
