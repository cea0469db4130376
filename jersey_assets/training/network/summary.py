"""Describes a network's layers: parameters, output shapes, FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_DEPTH = 2


def describe_model(network: nn.Module, image_size: int) -> dict[str, Any]:
    """Describes a network by the forward pass of one crop.

    Args:
        network: in evaluation mode, on the CPU.
        image_size: side of its input, px.

    Returns:
        `parameters`, `megabytes` of parameters and buffers, `flops` of a crop, and
        `layers`, a row for each with `layer`, `kind`, `output`, `parameters`, `flops`.
    """
    layers = {
        name: part for name, part in network.named_modules() if _shown(name, part)
    }
    shapes, counter = _run_once(network, layers, image_size)
    root = type(network).__name__
    flops = {
        name.removeprefix(f"{root}."): sum(counts.values())
        for name, counts in counter.get_flop_counts().items()
    }
    tensors = [*network.parameters(), *network.buffers()]
    return {
        "parameters": _count(network),
        "megabytes": round(sum(t.nbytes for t in tensors) / 1e6, 1),
        "flops": counter.get_total_flops(),
        "layers": [
            {
                "layer": name,
                "kind": type(layer).__name__.strip("_"),
                "output": shapes[layer],
                "parameters": _count(layer),
                "flops": flops.get(name, 0),
            }
            for name, layer in layers.items()
        ],
    }


def _run_once(
    network: nn.Module, layers: Mapping[str, nn.Module], image_size: int
) -> tuple[dict[nn.Module, str], FlopCounterMode]:
    """Runs one crop through a network; returns its layers' output shapes and FLOPs."""
    shapes: dict[nn.Module, str] = {}

    def note(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        shapes[layer] = " × ".join(map(str, output.shape[1:]))

    handles = [layer.register_forward_hook(note) for layer in layers.values()]
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(torch.zeros(1, 3, image_size, image_size))
    for handle in handles:
        handle.remove()
    return shapes, counter


def _shown(name: str, part: nn.Module) -> bool:
    """Whether it is a part of the network's parts, or one that has none."""
    depth = name.count(".") + 1
    whole = depth < _DEPTH and not list(part.children())
    return bool(name) and (depth == _DEPTH or whole)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
