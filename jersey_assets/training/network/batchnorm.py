"""BatchNorm over the whole batch when its rows are spread over several processes.

torch's `SyncBatchNorm` does this on GPUs only; this one is plain tensor arithmetic and
one all-reduce, the same on every device, so that tests on CPUs cover what runs on GPUs.
Names of parameters and buffers are those of `BatchNorm2d`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn


class SyncedBatchNorm(LayerSync):
    """Lets Lightning put batch norms that span the processes into the model."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Replaces each `BatchNorm2d`; parameters and buffers are shared."""
        for name, child in model.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(model, name, _BatchNorm.of(child))
            else:
                self.apply(child)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Keeps the model as it is: it computes the same in a single process."""
        return model


class _BatchNorm(nn.BatchNorm2d):
    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> _BatchNorm:
        made = cls(norm.num_features, norm.eps, norm.momentum)
        made._parameters, made._buffers = norm._parameters, norm._buffers
        return made.train(norm.training)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalizes [n, C, H, W]; each process has as many rows as the others."""
        if not self.training:
            return super().forward(maps)
        world = dist.get_world_size()
        values = maps.float()
        moments = torch.stack([values.mean((0, 2, 3)), values.square().mean((0, 2, 3))])
        mean, square = _Sum.apply(moments) / world
        # Rounding must not make it negative.
        variance = (square - mean.square()).clamp_min(0)
        count = world * maps.numel() / self.num_features
        self._remember(mean, variance * (count / (count - 1)))
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        normalized = values * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        result: Tensor = normalized.to(maps.dtype)
        return result

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the running statistics for evaluation towards the batch's."""
        for running, seen in (
            (self.running_mean, mean),
            (self.running_var, variance),
        ):
            assert running is not None
            assert self.momentum is not None
            running.lerp_(seen, self.momentum)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)


class _Sum(torch.autograd.Function):
    """Sum over the processes, of values and, backwards, of gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
