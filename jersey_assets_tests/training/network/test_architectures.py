"""The networks: shapes, and a head whose labels share their characters."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from jersey_assets.training.network.architectures import SpelledLinear, build_model
from jersey_assets.training.recipe import Recipe

LABELS = ("", "2", "26", "62", "6")


@pytest.mark.parametrize("size", [32, 64, 100])
def test_jerseynet_takes_crops_of_any_size(size: int) -> None:
    network = build_model(Recipe(), LABELS).eval()
    assert network(torch.zeros(3, 3, size, size)).shape == (3, len(LABELS))


def test_a_head_begins_as_a_linear_layer_and_stays_one() -> None:
    head = SpelledLinear(7, LABELS)
    features = torch.randn(4, 7)
    assert torch.equal(head(features), F.linear(features, head.weight, head.bias))
    torch.nn.init.normal_(head.character_weight)
    zero = head(torch.zeros(1, 7))
    a, b = torch.randn(2, 1, 7)
    total = head(a) + head(b) - zero
    assert torch.allclose(head(a + b), total, atol=1e-5)


def test_labels_learn_from_each_others_characters_by_place() -> None:
    head = SpelledLinear(3, LABELS)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    head(torch.ones(1, 3))[0, LABELS.index("26")].backward()
    with torch.no_grad():
        head.character_weight += head.character_weight.grad
        scores = dict(zip(LABELS, head(torch.ones(1, 3))[0].tolist(), strict=True))
    # "26" shares its 6 with "6", and no character at its place with "62" or "".
    assert scores == {"": 0, "2": 0, "62": 0, "6": 3, "26": 6}


@pytest.mark.parametrize("characters", [1, 2, 3, 30])
def test_a_step_moves_the_scores_of_long_labels_no_further(characters: int) -> None:
    head = SpelledLinear(3, ["a" * characters, "b" * characters])
    before = head.plain().weight.detach().clone()
    rate = 0.01
    optimizer = torch.optim.Adam(head.parameters(), lr=rate)
    F.cross_entropy(head(torch.ones(1, 3)), torch.tensor([0])).backward()
    optimizer.step()
    moved = (head.plain().weight - before).abs().max()
    # A label's own weights make one step, and its characters two in all at most.
    assert rate < moved < 3.001 * rate


def test_every_parameter_of_jerseynet_learns_within_two_steps() -> None:
    torch.manual_seed(0)
    network = build_model(Recipe(), LABELS)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    images, targets = torch.randn(8, 3, 64, 64), torch.arange(8) % len(LABELS)
    for _ in range(2):  # a silent block lets its own weights learn after one step
        optimizer.zero_grad()
        F.cross_entropy(network(images), targets).backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        assert not torch.equal(parameter, before[name]), name
