"""How well, how fast and how evenly the default recipe trains.

`python -m benchmarks.training [accuracy|speed|threads] [--data ROOT …] [--seeds N]
[--recipe JSON] [--fill-to N] [--out DIR]`

accuracy: trains from scratch on each dataset (conflicts resolved by `prefer_number`)
with each seed; prints top-1 of the averaged weights on valid, and on test where there
is one, with wall seconds, their mean and spread, and draws top-1 against seconds.
Without --data a drawn dataset is used.

speed: images/s of the steps of a real training (Lightning, batches, augmentation,
clipping, averaging, metrics) with ResNet18 at 64 and 224 px, beside (a) a plain PyTorch
loop with the same model and optimizer on one ready batch, and (b) that loop fed by
per-sample torchvision v2 transforms on PIL images; rounds in turn, medians. Then the
share of a step that the averaging takes.

threads: images/s of the default recipe's steps with one thread, with as many as there
are cores, and with the number left to the training, alone and beside as many busy
processes as there are cores; in turn, medians. Alone means what else runs here: the
load is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image

from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate
from jersey_assets.labels.filling import Filling, draw_missing
from jersey_assets.labels.mapping import class_mapping
from jersey_assets.labels.statistics import dataset_statistics
from jersey_assets.machine import usable_cpus
from jersey_assets.plots.png import save_png
from jersey_assets.rendering.dataset import render_dataset
from jersey_assets.training.callbacks.ema import ExponentialMovingAverage
from jersey_assets.training.data.crops import (
    Crops,
    load_crops,
    load_drawn,
    natural_size,
    normalize,
    three_channels,
)
from jersey_assets.training.data.training_data import TrainingData
from jersey_assets.training.evaluation import evaluate
from jersey_assets.training.fit import fit
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.plan import Plan
from jersey_assets.training.recipe import Recipe
from jersey_assets.training.result import Training

ROUNDS = 3
FIXED_STEPS, OUR_STEPS = 30, 240
LABELS = [str(number) for number in range(42)]


@dataclass(frozen=True)
class Data:
    """A dataset, ready to train on."""

    name: str
    labels: list[str]
    splits: dict[str, Crops]
    drawn: Crops
    statistics: dict[str, Any]


def load(root: Path, recipe: Recipe, fill_to: int) -> Data:
    """Validates, counts, draws and decodes, as the graph does."""
    table = validate(root, Rules(conflict_policy="prefer_number")).validated
    mapping = class_mapping(table)
    shown = table[table["split"] == "train"]
    size = recipe.image_size or natural_size(shown)
    counts = shown["label"].value_counts()
    wanted = {label: int(counts[label]) for label in mapping}
    drawn = draw_missing(Filling(fill_to=fill_to), wanted, lambda _: None)
    return Data(
        root.name,
        list(mapping),
        {
            str(split): load_crops(root, rows, mapping, size)
            for split, rows in table.groupby("split", observed=True)
        },
        load_drawn(drawn, mapping, size),
        dataset_statistics(root, table),
    )


def train(data: Data, recipe: Recipe) -> Training:
    """Trains once, saying each epoch."""
    crops = data.splits["train"] + data.drawn, data.splits["valid"]
    channels = (three_channels(data.statistics[name]) for name in ("mean", "std"))
    return fit(
        Plan(recipe, TrainingData(tuple(data.labels), *crops, *channels)),
        lambda epoch, epochs: print(f"  {epoch.line(epochs)}", flush=True),
    )


def bench_accuracy(
    roots: list[Path], recipe: Recipe, seeds: int, fill_to: int, out: Path
) -> None:
    """Each dataset with each seed."""
    for root in roots:
        data = load(root, recipe, fill_to)
        histories, valid, test, seconds = [], [], [], []
        print(
            f"\n{data.name}: {len(data.splits['train']):,} train crops, "
            f"{len(data.drawn):,} drawn ones added, {len(data.labels)} labels"
        )
        for seed in range(recipe.seed, recipe.seed + seeds):
            started = time.monotonic()
            made = train(data, recipe.model_copy(update={"seed": seed}))
            seconds.append(time.monotonic() - started)
            histories.append(made.history)
            valid.append(made.checkpoint.valid_top1)
            last = made.history["valid_top1"].iloc[-1]
            line = f"seed {seed}: valid {valid[-1]:.2%} (last epoch {last:.2%})"
            if "test" in data.splits:
                test.append(evaluate(made.checkpoint, "test", data.splits["test"]).top1)
                line += f", test {test[-1]:.2%}"
            speed = made.summary["images_per_second"]
            print(
                f"{line}, {seconds[-1]:.0f} s, {speed:.0f} images/s, "
                f"{made.summary['device']} {made.summary['precision']}",
                flush=True,
            )
        for split, scores in (("valid", valid), ("test", test)):
            if scores:
                spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
                print(
                    f"{data.name} {split}: mean {statistics.mean(scores):.2%}, sd "
                    f"{spread:.2%}, {len(scores)} seeds, "
                    f"{statistics.mean(seconds):.0f} s each"
                )
        save_png(_against_seconds(data.name, histories), out / f"{data.name}.png")
        print(f"picture: {out / data.name}.png")


def _against_seconds(name: str, histories: list[pd.DataFrame]) -> Figure:
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for seed, history in enumerate(histories):
        axes.plot(history["seconds"], history["valid_top1"], label=f"seed {seed}")
    axes.set(xlabel="seconds", ylabel="valid top-1 (averaged weights)", title=name)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def bench_speed(recipe: Recipe) -> None:
    """Ours, the bare loop and the per-sample way, in turn."""
    for size, batch, steps in ((64, 64, 20), (224, 16, 6)):
        chosen = recipe.model_copy(
            update={
                "model": "resnet18",
                "image_size": size,
                "batch_size": batch,
                "epochs": 1,
            }
        )
        crops = _random_crops(batch * steps, size)
        summary = _our_training(chosen, crops)
        stepper = _Stepper(chosen, summary["device"], summary["precision"])
        bare = _bare_steps(stepper, crops, batch)
        ways = {
            "(a) bare loop, ready batch": bare,
            "(b) torchvision v2 per sample": _reference_steps(stepper, crops, batch),
        }
        rates: dict[str, list[float]] = {"ours": [], **{name: [] for name in ways}}
        for step in ways.values():
            step()
        for _ in range(ROUNDS):
            ours = _our_training(chosen, crops)["train_images_per_second"]
            rates["ours"].append(ours)
            for name, step in ways.items():
                rates[name].append(batch / _seconds(stepper, step, steps))
        print(
            f"\nResNet18, {size} px, batches of {batch}, {summary['precision']} on "
            f"{summary['device']}"
        )
        middle = statistics.median(rates["ours"])
        for name, values in rates.items():
            rate = statistics.median(values)
            print(f"  {name:32} {rate:8.1f} images/s  ours is {middle / rate:.2f} x")
        share = _averaging_share(stepper, bare, chosen)
        print(f"  averaging takes {share:.1%} of a bare step")


def _random_crops(count: int, size: int) -> Crops:
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
    names = tuple(str(number) for number in range(count))
    return Crops(images, torch.randint(0, 42, (count,)), names)


def _our_training(recipe: Recipe, crops: Crops) -> dict[str, Any]:
    """A whole training; its summary, whose speed is that of the steps."""
    few = Crops(crops.images[:2], crops.targets[:2], crops.names[:2])
    half = (0.5, 0.5, 0.5)
    data = TrainingData(tuple(LABELS), crops, few, half, half)
    return fit(Plan(recipe, data), lambda *_: None).summary


def _seconds(stepper: _Stepper, step: Callable[[], None], count: int) -> float:
    """Seconds of a step."""
    stepper.wait()
    started = time.perf_counter()
    for _ in range(count):
        step()
    stepper.wait()
    return (time.perf_counter() - started) / count


class _Stepper:
    """A network with its optimizer, and one step of them."""

    def __init__(self, recipe: Recipe, device: str, precision: str) -> None:
        torch.manual_seed(0)
        self.device = torch.device(device)
        network = build_model(recipe, LABELS).to(self.device)
        self.network = network.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        self.mixed = precision != "32-true"

    def step(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Forward, backward, update."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            logits = self.network(inputs)
            loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def wait(self) -> None:
        """Returns when the device has done all that it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _bare_steps(stepper: _Stepper, crops: Crops, batch: int) -> Callable[[], None]:
    """The limit: nothing but the network."""
    half = (0.5, 0.5, 0.5)
    inputs = normalize(crops.images[:batch].to(stepper.device), half, half)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    targets = crops.targets[:batch].to(stepper.device)
    return lambda: stepper.step(inputs, targets)


def _reference_steps(stepper: _Stepper, crops: Crops, batch: int) -> Callable[[], None]:
    """Transforms on one PIL image at a time, as most trainers have them."""
    from torchvision.transforms import v2

    pictures = [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in crops.images]
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(crops.images.shape[-1], scale=(0.7, 1.0)),
            v2.RandomAffine(8, translate=(0.1, 0.1), scale=(0.8, 1.2), shear=8),
            v2.RandomPerspective(0.15, p=0.5),
            v2.ColorJitter(0.3, 0.3, 0.3),
            v2.RandomApply([v2.GaussianBlur(3)], p=0.2),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
            v2.RandomErasing(0.1),
        ]
    )
    rng = np.random.default_rng(0)

    def step() -> None:
        chosen = rng.permutation(len(pictures))[:batch].tolist()
        inputs = torch.stack([transform(pictures[index]) for index in chosen])
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        stepper.step(
            inputs.to(stepper.device), crops.targets[chosen].to(stepper.device)
        )

    return step


def _averaging_share(
    stepper: _Stepper, step: Callable[[], None], recipe: Recipe
) -> float:
    """Seconds of the callback's own update beside a bare step."""
    import lightning.pytorch as pl

    averaging = ExponentialMovingAverage(recipe.ema_decay)
    module = pl.LightningModule()
    module.model = stepper.network
    averaging.setup(pl.Trainer(logger=False), module, "fit")
    average = averaging._average_model
    assert average is not None
    average.to(stepper.device)
    steps, updates = [], []
    for _ in range(ROUNDS * 2):
        steps.append(_seconds(stepper, step, 1))
        updates.append(_seconds(stepper, lambda: average.update_parameters(module), 1))
    update = statistics.median(updates)
    return update / (statistics.median(steps) + update)


def bench_threads(recipe: Recipe) -> None:
    """One thread, all threads and ours, alone and beside busy processes."""
    cores = torch.get_num_threads()
    size = recipe.image_size or 64
    crops = _random_crops(recipe.batch_size * FIXED_STEPS, size)
    ways = {"one thread": 1, f"{cores} threads": cores, "ours": None}
    for busy in (0, cores):
        rates: dict[str, list[float]] = {name: [] for name in ways}
        with _busy_processes(busy):
            for _ in range(ROUNDS):
                for name, threads in ways.items():
                    epochs = 1 if threads else OUR_STEPS // FIXED_STEPS
                    chosen = {"threads": threads, "epochs": epochs}
                    summary = _our_training(recipe.model_copy(update=chosen), crops)
                    rates[name].append(summary["train_images_per_second"])
                    print(
                        f"  {name}: {rates[name][-1]:.0f} images/s, load "
                        f"{os.getloadavg()[0]:.1f}, {summary['threads']}",
                        flush=True,
                    )
        print(f"\nbeside {busy} busy processes, {size} px, {summary['precision']}")
        middle = {name: statistics.median(values) for name, values in rates.items()}
        best = max(rate for name, rate in middle.items() if name != "ours")
        for name, rate in middle.items():
            print(f"  {name:12} {rate:8.1f} images/s  {rate / best:.2f} x the better")


@contextmanager
def _busy_processes(count: int) -> Iterator[None]:
    """Lets so many processes compute while this goes on."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("accuracy", "speed", "threads"))
    parser.add_argument("--data", type=Path, action="append", help="dataset root")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", type=json.loads, default={}, help="knobs, as JSON")
    parser.add_argument("--fill-to", type=int, default=0, help="draw rare labels")
    parser.add_argument("--out", type=Path, default=Path("artifacts/benchmarks"))
    options = parser.parse_args()
    recipe = Recipe.model_validate(options.recipe)
    if recipe.weights != "none":
        parser.error("weights: this benchmark trains from scratch")
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{usable_cpus()} cores, torch {torch.__version__}")
    if options.what in (None, "accuracy"):
        with tempfile.TemporaryDirectory() as scratch:
            roots = options.data
            if not roots:
                roots = [Path(scratch) / "drawn"]
                render_dataset(roots[0], train=1200, valid=200, test=200, seed=0)
            bench_accuracy(roots, recipe, options.seeds, options.fill_to, options.out)
    if options.what in (None, "speed"):
        bench_speed(recipe)
    if options.what in (None, "threads"):
        bench_threads(recipe)


if __name__ == "__main__":
    main()
