"""Folds a network for export: computes everything that is constant beforehand.

Batch normalization goes into the convolution before it, and what labels share into the
weights of a plain linear head. Tensors keep their names, so that those of a file can be
compared with a checkpoint's one by one.
"""

from __future__ import annotations

import copy

from torch import nn
from torch.fx import GraphModule
from torch.fx.experimental.optimization import fuse

from jersey_assets.training.network.architectures import SpelledLinear

_COMPUTES = ("call_module", "call_function", "call_method")


def fold(network: nn.Module) -> GraphModule:
    """Folds a network in evaluation mode; the network itself does not change.

    Returns:
        A module with the same logits, up to the rounding of float32.
    """
    network = copy.deepcopy(network)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, SpelledLinear):
            network.set_submodule(name, layer.plain().eval())
    folded = fuse(network, inplace=True)
    assert isinstance(folded, GraphModule)
    return folded


def count_operators(folded: GraphModule) -> int:
    """Number of operators that compute something when the network runs."""
    modules = dict(folded.named_modules())
    return sum(
        node.op in _COMPUTES
        and not isinstance(modules.get(str(node.target)), (nn.Identity, nn.Dropout))
        for node in folded.graph.nodes
    )
