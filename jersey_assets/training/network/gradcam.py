"""Grad-CAM: which parts of a crop support the network's answer.

Selvaraju et al. 2017, "Grad-CAM: Visual explanations from deep networks via
gradient-based localization": the maps of the last convolutional stage, each weighted
by the mean gradient of the answer's logit over it; negative values are cut off.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def grad_cam(network: nn.Module, inputs: Tensor) -> Tensor:
    """Maps what supports each crop's answer.

    Args:
        network: in evaluation mode, from inputs to logits.
        inputs: float32 [n, 3, h, w], normalized.

    Returns:
        float32 [n, h, w] in 0..1, the highest of each crop 1 (or all 0 if nothing
        supports the answer).
    """
    seen: list[Tensor] = []
    stage = _last_stage(network)
    handle = stage.register_forward_hook(lambda *call: seen.append(call[2]))
    try:
        with torch.enable_grad():
            # Without this a network of frozen weights would give no gradients.
            logits = network(inputs.detach().requires_grad_())
            answers = logits.amax(1).sum()
            (slopes,) = torch.autograd.grad(answers, seen[0])
    finally:
        handle.remove()
    weights = slopes.mean((2, 3), keepdim=True)
    maps = (weights * seen[0].detach()).sum(1, keepdim=True).relu()
    maps = F.interpolate(maps, size=inputs.shape[2:], mode="bilinear")[:, 0]
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)


def _last_stage(network: nn.Module) -> nn.Module:
    """The last part of a network that has convolutions: its maps go to the head."""
    stages = [
        part
        for part in network.children()
        if any(isinstance(layer, nn.Conv2d) for layer in part.modules())
    ]
    return stages[-1]
