"""Measures latency and throughput of a model file and of its checkpoint in PyTorch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from jersey_assets.export.batch_sizes import LATENCY
from jersey_assets.export.runtimes import Scorer, onnx_scorer, torch_scorer
from jersey_assets.machine import usable_cpus
from jersey_assets.reader.session import open_session

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint

_ROUNDS = 5
_PAUSE_S = 0.005


def measure_latency(
    data: bytes, checkpoint: Checkpoint, seconds: float = 0.2
) -> list[dict[str, Any]]:
    """Times both runtimes, with one thread and with all.

    Args:
        data: the model file's content.
        checkpoint: what it was exported from.
        seconds: at least spent on each batch size.

    Returns:
        Rows of `runtime`, `threads`, `batch_size`, `milliseconds` (median of a batch)
        and `images_per_second`.

    Raises:
        ModelError: onnxruntime refuses the model.
    """
    size, rows = checkpoint.image_size, []
    network = checkpoint.build_model()
    for threads in sorted({1, usable_cpus()}):
        plain = open_session(data, optimized=False, threads=threads)
        runtimes = {
            "onnxruntime": onnx_scorer(open_session(data, threads=threads)),
            "onnxruntime, graph not optimized": onnx_scorer(plain),
            "PyTorch": torch_scorer(network),
        }
        with torch_threads(threads):
            for batch_size in LATENCY:
                batch = np.zeros((batch_size, 3, size, size), np.float32)
                times = interleaved_seconds(runtimes, batch, seconds)
                rows += [
                    latency_row(name, threads, batch_size, statistics.median(values))
                    for name, values in times.items()
                ]
    return rows


def latency_row(
    runtime: str, threads: int, batch_size: int, seconds: float
) -> dict[str, Any]:
    """Makes a row of a batch's time and the images per second."""
    return {
        "runtime": runtime,
        "threads": threads,
        "batch_size": batch_size,
        "milliseconds": round(seconds * 1e3, 3),
        "images_per_second": round(batch_size / seconds, 1),
    }


def interleaved_seconds(
    scorers: Mapping[str, Scorer], batch: NDArray[Any], seconds: float
) -> dict[str, list[float]]:
    """Times scorers in turn, so that other load on the machine affects all of them.

    Args:
        scorers: by name.
        batch: the input, [n, 3, S, S].
        seconds: for all together, at least; there are at least five rounds.

    Returns:
        The seconds of each run, by name, without the first one, which allocates.
    """
    for score in scorers.values():
        score(batch)
    times: dict[str, list[float]] = {name: [] for name in scorers}
    begin, rounds = time.perf_counter(), 0
    while rounds < _ROUNDS or time.perf_counter() - begin < seconds:
        for name, score in scorers.items():
            time.sleep(_PAUSE_S)  # until the previous scorer's threads stop spinning
            start = time.perf_counter()
            score(batch)
            times[name].append(time.perf_counter() - start)
        rounds += 1
    return times


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Lets PyTorch use this many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
