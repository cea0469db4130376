"""Latency and throughput of a model file beside its checkpoint in PyTorch."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jersey_assets.export.runtimes import (
    Scorer,
    onnx_scorer,
    open_session,
    torch_scorer,
)

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint

BATCH_SIZES = (1, 8, 32)


def measure_latency(
    data: bytes, checkpoint: Checkpoint, seconds: float = 0.2
) -> list[dict[str, Any]]:
    """Times both runtimes, with one thread and with all.

    Args:
        data: the model file's content.
        checkpoint: what it was exported from.
        seconds: spent on each row, at least; a few runs are made in any case.

    Returns:
        Rows of `runtime`, `threads`, `batch_size`, `milliseconds` (median of a batch)
        and `images_per_second`.

    Raises:
        ExportError: onnxruntime refuses the model.
    """
    size, rows = checkpoint.image_size, []
    network = checkpoint.build_model()
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        plain = open_session(data, optimized=False, threads=threads)
        runtimes = {
            "onnxruntime": onnx_scorer(open_session(data, threads=threads)),
            "onnxruntime, graph not optimized": onnx_scorer(plain),
            "PyTorch": torch_scorer(network),
        }
        with _torch_threads(threads):
            for batch_size in BATCH_SIZES:
                batch = np.zeros((batch_size, 3, size, size), np.float32)
                for name, score in runtimes.items():
                    median = _median_seconds(score, batch, seconds)
                    rows.append(
                        {
                            "runtime": name,
                            "threads": threads,
                            "batch_size": batch_size,
                            "milliseconds": round(median * 1e3, 3),
                            "images_per_second": round(batch_size / median, 1),
                        }
                    )
    return rows


def _median_seconds(
    score: Scorer, batch: np.ndarray[Any, Any], seconds: float
) -> float:
    score(batch)  # the first run allocates
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        score(batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
