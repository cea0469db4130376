"""Runs a model in onnxruntime or PyTorch behind one function: batch to logits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jersey_assets.export.tolerance import Numbers

# From normalized crops, float [n, 3, S, S], to logits [n, classes].
Scorer = Callable[[NDArray[Any]], Numbers]


def onnx_scorer(session: Any) -> Scorer:
    """Scores in onnxruntime, float32."""
    return lambda batch: session.run(["logits"], {"input": batch})[0]


def torch_scorer(network: torch.nn.Module, *, double: bool = False) -> Scorer:
    """Scores in PyTorch, float32 or float64."""
    dtype = torch.float64 if double else torch.float32
    if double:
        network = copy.deepcopy(network).double()

    def score(batch: NDArray[Any]) -> Numbers:
        with torch.inference_mode():
            logits: Numbers = network(torch.from_numpy(batch).to(dtype)).numpy()
        return logits

    return score


def in_batches(score: Callable[[Any], Numbers], inputs: Any, size: int) -> Numbers:
    """Scores an array or tensor in batches, the last one smaller, as float64."""
    parts = [score(inputs[i : i + size]) for i in range(0, len(inputs), size)]
    return np.concatenate(parts).astype(np.float64)
