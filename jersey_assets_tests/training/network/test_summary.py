"""What a network is made of, layer by layer."""

from __future__ import annotations

import pytest
import torchvision

from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.network.summary import describe_model
from jersey_assets.training.recipe import Recipe


@pytest.mark.parametrize("model", ["jerseynet", "resnet18", "resnet50"])
def test_layers_add_up_to_the_whole(model: str) -> None:
    recipe = Recipe.model_validate({"model": model})
    made = describe_model(build_model(recipe, "0123456").eval(), 64)
    for column in ("parameters", "flops"):
        assert sum(row[column] for row in made["layers"]) == made[column]
    assert made["layers"][-1]["output"] == "7"


def test_torchvisions_resnet18_has_its_published_size() -> None:
    made = describe_model(torchvision.models.resnet18().eval(), 224)
    assert made["parameters"] == 11_689_512
    assert made["flops"] / 2 == pytest.approx(1.814e9, rel=1e-3)
    assert made["megabytes"] == pytest.approx(46.8, abs=0.1)
