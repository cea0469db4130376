"""Our file in onnxruntime beside PyTorch eager and torch.compile, and in int8.

`python -m benchmarks.export [--checkpoint model.ckpt --data ROOT] [--seconds S]`

For jerseynet and resnet18, 42 classes at 64 px, random weights (speed does not depend
on them), at batches of 1, 8 and 32: the milliseconds of a batch on one core and on
all, median and minimum over interleaved rounds, so that what else runs meets all
alike; then the ratio of the best PyTorch time to ours, of medians and of minima (above
1: ours is faster). torch.compile is given each batch size as a constant, and is warm.
Each batch size says how many cores this process got: where it is fewer than the
threads, others took them, threads waited for each other, and the ratios mean little.
With a checkpoint and the dataset that it was trained on: what int8 changes in accuracy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jersey_assets.export.batch_sizes import LATENCY
from jersey_assets.export.file_metadata import Provenance
from jersey_assets.export.int8 import CALIBRATION_CROPS, compare_int8, quantize
from jersey_assets.export.latency import interleaved_seconds, torch_threads
from jersey_assets.export.onnx_model import export_onnx
from jersey_assets.export.runtimes import (
    Scorer,
    onnx_scorer,
    torch_scorer,
)
from jersey_assets.machine import usable_cpus
from jersey_assets.reader.session import open_session
from jersey_assets.training.checkpoint import Checkpoint, load_checkpoint
from jersey_assets.training.data.crops import Crops, evaluation_split, load_crops
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

OURS, INT8 = "onnxruntime", "onnxruntime, int8"
PYTORCH = ("PyTorch eager", "torch.compile")
NOBODY = Provenance("none", "none", "none", "none")


def random_checkpoint(name: str) -> Checkpoint:
    """A checkpoint of a recipe's network that has learned nothing."""
    torch.manual_seed(0)
    recipe = Recipe.model_validate({"model": name, "image_size": 64})
    labels = tuple(str(number) for number in range(42))
    state = build_model(recipe, labels).state_dict()
    half = (0.5, 0.5, 0.5)
    return Checkpoint(recipe, labels, half, half, 1, 0.0, 0.0, state, state)


def random_crops(size: int) -> Crops:
    """Noise to calibrate on, where only speed is asked for."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (32, 3, size, size), generator=draw)
    names = tuple(map(str, range(32)))
    return Crops(images.to(torch.uint8), torch.zeros(32, dtype=torch.int64), names)


def open_runtimes(checkpoint: Checkpoint, folder: Path, threads: int) -> dict[str, Any]:
    """The four competitors, by name."""
    export_onnx(checkpoint, folder, NOBODY)
    quantize(
        folder / "model.onnx",
        random_crops(checkpoint.image_size),
        folder / "int8.onnx",
    )
    network = checkpoint.build_model()
    files = {OURS: "model.onnx", INT8: "int8.onnx"}
    sessions: dict[str, Scorer] = {
        name: onnx_scorer(open_session((folder / file).read_bytes(), threads=threads))
        for name, file in files.items()
    }
    compiled = torch.compile(network, dynamic=False)
    return sessions | {
        PYTORCH[0]: torch_scorer(network),
        PYTORCH[1]: torch_scorer(compiled),
    }


def bench_speed(name: str, threads: int, seconds: float) -> None:
    """Print a table of one network."""
    torch.compiler.reset()  # what was compiled is made for its number of threads
    checkpoint = random_checkpoint(name)
    with tempfile.TemporaryDirectory() as folder, torch_threads(threads):
        runtimes = open_runtimes(checkpoint, Path(folder), threads)
        print(f"\n{name}, threads: {threads}; milliseconds per batch, median (minimum)")
        print(f"{'batch':>5}" + "".join(f"{runtime:>21}" for runtime in runtimes))
        for size in LATENCY:
            side = checkpoint.image_size
            draw = np.random.default_rng(0)
            batch = draw.normal(size=(size, 3, side, side)).astype(np.float32)
            interleaved_seconds(runtimes, batch, 0)  # compiles
            wall, cpu = time.perf_counter(), time.process_time()
            times = interleaved_seconds(runtimes, batch, seconds)
            got = (time.process_time() - cpu) / (time.perf_counter() - wall)
            report(size, times)
            print(f"      {len(times[OURS])} rounds, on {got:.2f} cores")


def report(size: int, times: Mapping[str, list[float]]) -> None:
    """Print one batch size: times, throughput, ratios."""
    middle = {name: statistics.median(values) for name, values in times.items()}
    least = {name: min(values) for name, values in times.items()}
    cells = [f"{middle[name] * 1e3:.2f} ({least[name] * 1e3:.2f})" for name in times]
    print(f"{size:>5}" + "".join(f"{cell:>21}" for cell in cells))
    cells = [f"{size / middle[name]:,.0f} images/s" for name in times]
    print(f"{'':>5}" + "".join(f"{cell:>21}" for cell in cells))
    for name, rivals in ((OURS, PYTORCH), (INT8, (OURS,))):
        by_median, by_least = (
            min(found[rival] for rival in rivals) / found[name]
            for found in (middle, least)
        )
        beside = "the best of PyTorch" if rivals == PYTORCH else OURS
        print(
            f"      {name} beside {beside}: {by_median:.2f} x by medians, "
            f"{by_least:.2f} x by minima"
        )


def bench_accuracy(path: Path, root: Path) -> None:
    """Print what int8 changes on the evaluation split of a dataset."""
    from jersey_assets.annotations.rules import Rules
    from jersey_assets.annotations.validate import validate

    checkpoint = load_checkpoint(path)
    rows = validate(root, Rules(conflict_policy="prefer_number")).validated
    train, split = rows[rows["split"] == "train"], evaluation_split(rows)
    train = train.sample(min(len(train), CALIBRATION_CROPS), random_state=0)

    def load(part: pd.DataFrame) -> Crops:
        mapping = {label: index for index, label in enumerate(checkpoint.labels)}
        return load_crops(root, part, mapping, checkpoint.image_size)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, int8 = folder / "model.onnx", folder / "int8.onnx"
        export_onnx(checkpoint, folder, NOBODY)
        quantize(model, load(train), int8)
        found = compare_int8(model, int8, load(rows[rows["split"] == split]))
    print(
        f"\nint8 on {root.name} {split}, {found['images']} crops: top-1 "
        f"{found['int8_top1']:.2%}, float {found['float_top1']:.2%}; "
        f"{found['only_float_right']} read only in float, {found['only_int8_right']} "
        f"only in int8; same answer {found['top1_agreement']:.2%}; "
        f"{found['sqnr_db']:.1f} dB; {found['int8_bytes'] / 1e6:.1f} MB instead of "
        f"{found['float_bytes'] / 1e6:.1f}"
    )


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a trained model.ckpt")
    parser.add_argument("--data", type=Path, help="the dataset it was trained on")
    parser.add_argument("--seconds", type=float, default=5.0, help="a batch size")
    parser.add_argument("--models", nargs="*", default=["jerseynet", "resnet18"])
    options = parser.parse_args()
    if (options.checkpoint is None) != (options.data is None):
        parser.error("--checkpoint and --data go together")
    warnings.filterwarnings("ignore", module="torch")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"load before (1, 5, 15 minutes): {load} on {os.cpu_count()} cores")
    for name in options.models:
        for threads in sorted({1, usable_cpus()}):
            bench_speed(name, threads, options.seconds)
    if options.checkpoint:
        bench_accuracy(options.checkpoint, options.data)
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
