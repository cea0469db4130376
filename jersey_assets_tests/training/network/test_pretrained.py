"""Weights to start from: what is taken, what is refused, what stays frozen."""

from __future__ import annotations

import io
import os
import pickle
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import Tensor

from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.store import Store
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.errors import Interrupted, TrainingError
from jersey_assets.training.fit import fit
from jersey_assets.training.module import TrainingModule
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.network.pretrained import Pretrained, pretrained
from jersey_assets.training.plan import Plan
from jersey_assets.training.recipe import Recipe
from jersey_assets.training.result import Training
from jersey_assets_tests.training.quick import SIZE, Hostile, data_of

KNOBS = {"image_size": SIZE, "batch_size": 32, "learning_rate": 0.002, "threads": 1}


HEAD = ("head.weight", "head.bias", "head.character_weight")


def serve(content: object) -> Any:
    """Reads as a store with one file would."""
    file = io.BytesIO()
    torch.save(content, file)
    return lambda *names: file.getvalue()


@pytest.fixture(scope="module")
def start(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """An earlier training's checkpoint, as a person would supply it."""
    folder = tmp_path_factory.mktemp("artifacts") / "weights"
    folder.mkdir()
    training.checkpoint.save(folder / "earlier.ckpt")
    store = Store(str(folder.parent))
    found = pretrained(Recipe(weights="earlier"), partial(store.supplied, "weights"))
    assert found is not None
    return found


@pytest.fixture
def tune(labels: list[str], train: Crops, valid: Crops, start: Pretrained) -> Any:
    def tune(scratch: Path | None = None, **knobs: Any) -> Training:
        recipe = Recipe.model_validate(KNOBS | {"weights": "earlier"} | knobs)
        plan = Plan(recipe, data_of(labels, train, valid), start)
        return fit(plan, lambda *_: None, scratch)

    return tune


def split_head(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    head = {name: value for name, value in state.items() if name.startswith("head.")}
    return {n: v for n, v in state.items() if n not in head}, head


def test_a_frozen_backbone_keeps_its_bits_and_a_released_one_changes(
    tune: Any, start: Pretrained
) -> None:
    made = tune(epochs=2, freeze_epochs=2)
    frozen = made.checkpoint
    assert made.summary["trainable"] == sum(
        value.numel() for value in split_head(frozen.state_dict)[1].values()
    )
    for state in (frozen.state_dict, frozen.raw_state_dict):
        backbone, head = split_head(state)
        for name, value in backbone.items():
            assert torch.equal(value, start.tensors[name]), name
        assert not any(torch.equal(v, start.tensors[n]) for n, v in head.items())
    released = tune(epochs=2, freeze_epochs=1)
    last = released.others.get("epoch_002.ckpt", released.checkpoint)
    backbone, _ = split_head(last.raw_state_dict)
    changed = {n for n, v in backbone.items() if not torch.equal(v, start.tensors[n])}
    assert next(iter(backbone)) in changed
    assert {name for name in backbone if name.endswith("running_mean")} <= changed


def test_training_starts_at_the_weights(tune: Any, training: Training) -> None:
    still = tune(epochs=1, learning_rate=1e-8, warmup=0.9)
    assert still.summary["valid_top1"] == pytest.approx(
        training.summary["valid_top1"], abs=0.051
    )
    assert still.summary["weights"]["left"] == ()
    assert "head.weight" in still.summary["weights"]["taken"]


@pytest.mark.parametrize("at", [(0, 2), (1, 3)])
def test_a_frozen_training_resumes_to_the_same_bits(
    tune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[int, int]
) -> None:
    knobs = {"epochs": 2, "freeze_epochs": 1}
    whole = tune(**knobs)
    step = TrainingModule.training_step
    sent: list[bool] = []

    def interrupting(module: TrainingModule, batch: Any, index: int) -> Any:
        if (module.current_epoch, index) == at and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return step(module, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", interrupting)
    with pytest.raises(Interrupted):
        tune(tmp_path, **knobs)
    resumed = tune(tmp_path, **knobs)
    for name, value in whole.checkpoint.state_dict.items():
        assert torch.equal(value, resumed.checkpoint.state_dict[name]), name


@pytest.mark.parametrize(
    ("stem", "left"),
    [
        ("small", ("conv1.weight", "fc.weight", "fc.bias")),
        ("imagenet", ("fc.weight", "fc.bias")),
    ],
)
def test_torchvisions_weights_are_taken_but_for_stem_and_head(
    stem: str, left: tuple[str, ...]
) -> None:
    state = torchvision.models.resnet18(num_classes=1000).state_dict()
    recipe = Recipe.model_validate(
        {"model": "resnet18", "stem": stem, "weights": "theirs"}
    )
    found = pretrained(recipe, serve(state))
    assert found is not None
    network = build_model(recipe, "abcdefghijkl")
    match = found.put_into(network, tuple("abcdefghijkl"))
    assert match.left == left
    assert len(match.taken) + len(left) == len(state)
    for name in match.taken:
        assert torch.equal(network.state_dict()[name], state[name])


def test_a_head_for_other_labels_starts_at_random(
    start: Pretrained, labels: list[str]
) -> None:
    network = build_model(Recipe(), labels)
    assert start.match(network, tuple(labels)).left == ()
    others = tuple(reversed(labels))
    assert start.match(network, others).left == HEAD
    fewer = build_model(Recipe(), ["1", "2", "3"])
    assert start.match(fewer, ("1", "2", "3")).left == HEAD


def test_weights_of_another_network_are_refused(
    labels: list[str], train: Crops, valid: Crops, start: Pretrained
) -> None:
    recipe = Recipe(model="resnet18", weights="earlier", image_size=SIZE, epochs=1)
    with pytest.raises(TrainingError, match=r"fits \d of 122 tensors"):
        fit(Plan(recipe, data_of(labels, train, valid), start), lambda *_: None)


def test_a_file_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path,
) -> None:
    with pytest.raises(TrainingError, match="refused"):
        pretrained(Recipe(weights="bad"), serve({"x": Hostile(tmp_path / "ran")}))
    plain = pickle.dumps(Hostile(tmp_path / "ran"))
    with pytest.raises(TrainingError, match="refused"):
        pretrained(Recipe(weights="bad"), lambda *_: plain)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{}, {"a": 1}, [torch.zeros(2)]])
def test_a_file_without_weights_is_refused(content: object) -> None:
    with pytest.raises(TrainingError, match="no tensors by name"):
        pretrained(Recipe(weights="bad"), serve(content))


@pytest.mark.parametrize(
    "name", ["../model", "/etc/passwd", "https://host/x.pt", "a b", "", "x\n"]
)
def test_a_path_or_address_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError, match="weights"):
        Recipe(weights=name)


def test_a_missing_file_is_named_with_what_is_there(tmp_path: Path) -> None:
    read = partial(Store(str(tmp_path)).supplied, "weights")
    with pytest.raises(StorageError, match=r"no mine\.pt or mine\.ckpt.*no files"):
        pretrained(Recipe(weights="mine"), read)
    (tmp_path / "weights").mkdir()
    torch.save({}, tmp_path / "weights" / "other.pt")
    with pytest.raises(StorageError, match=r"it has: other\.pt"):
        pretrained(Recipe(weights="mine"), read)


def test_without_a_network_imagenet_weights_are_an_error_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    recipe = Recipe(model="resnet18", weights="imagenet")
    with pytest.raises(TrainingError, match="has no network, put a file"):
        pretrained(recipe, lambda *_: b"")


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"weights": "imagenet"}, "not for jerseynet"),
        ({"freeze_epochs": 2}, "would freeze random layers"),
        ({"freeze_epochs": -1, "weights": "x"}, "freeze_epochs"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(
    knobs: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Recipe.model_validate(knobs)


def test_other_values_under_the_same_name_are_other_weights(
    start: Pretrained,
) -> None:
    changed = dict(start.tensors) | {"head.bias": start.tensors["head.bias"] + 1}
    other = Pretrained(start.name, changed, start.labels)
    assert other.digest() != start.digest()
    assert Pretrained("x", start.tensors, start.labels).digest() == start.digest()
