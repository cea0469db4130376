"""What reading, probing and revalidating annotations costs, beside bare baselines.

`python -m benchmarks.annotations [rows|images] [--rows N] [--images N] [--folder DIR]`

rows: JSONL bytes to both tables, without images, beside (a) a bare `json.loads` loop
that builds (Path, int) pairs and checks nothing and (b) `polars.read_ndjson` alone,
where polars is installed. images: a whole validation with every crop probed, beside a
bare Pillow decode of the same files in the same number of processes; then the same
again with its cache and a hundred crops changed. Each step runs in a process of its
own, baseline and ours in turn; CPU seconds are user + system, children included, and
imports are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from jersey_assets.machine import usable_cpus

LINE = (
    '{{"image": "crops/{0:07d}.jpg", "prefix": "Read the number.", "suffix": "{1}", '
    '"metadata": {{"jersey_color": "{2}", "number_color": "{3}", '
    '"rotation": {4:.2f}}}}}'
)
ROUNDS = 3
COLOURS = ("red", "blue", "white", "black")


def cpu_seconds() -> float:
    """User and system time of this process and of the children that ended."""
    who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    used = list(map(resource.getrusage, who))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def annotation_files(root: Path) -> list[Path]:
    """The two files of a generated dataset."""
    return [root / split / "annotations.jsonl" for split in ("train", "valid")]


def write_rows(root: Path, count: int) -> None:
    """Write annotations, nine in ten for train, that name crops never written."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(-20, 20, count)
    splits = np.split(np.arange(count), [count * 9 // 10])
    for file, numbers in zip(annotation_files(root), splits, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w") as stream:
            for n in numbers.tolist():
                colours = COLOURS[n % 4], COLOURS[n // 4 % 4]
                stream.write(LINE.format(n, n % 100, *colours, angles[n]) + "\n")


def write_images(root: Path, count: int) -> None:
    """Write a dataset of small JPEG crops, the sizes those of real jersey numbers."""
    write_rows(root, count)
    rng = np.random.default_rng(0)
    for file, begin, end in zip(
        annotation_files(root),
        (0, count * 9 // 10),
        (count * 9 // 10, count),
        strict=True,
    ):
        (file.parent / "crops").mkdir()
        for number in range(begin, end):
            write_crop(file.parent / f"crops/{number:07d}.jpg", rng)


def write_crop(path: Path, rng: np.random.Generator) -> None:
    """Write one crop that looks like no other."""
    blobs = Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8))
    size = int(rng.integers(18, 48)), int(rng.integers(26, 64))
    blobs.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)


def read_with_json(root: Path) -> Callable[[], object]:
    """(a) What the reference trainer does."""

    def step() -> list[tuple[Path, int]]:
        pairs = []
        for file in annotation_files(root):
            with file.open() as stream:
                for line in stream:
                    row = json.loads(line)
                    pairs.append((file.parent / row["image"], int(row["suffix"])))
        return pairs

    return step


def read_with_polars(root: Path) -> Callable[[], object]:
    """(b) A table reader alone."""
    import polars  # type: ignore[import-not-found,unused-ignore]

    return lambda: [polars.read_ndjson(file) for file in annotation_files(root)]


def read_rows(root: Path) -> Callable[[], object]:
    """Ours: every row judged, the table held to its schema, both tables made."""
    import pandas as pd
    import pyarrow as pa

    from jersey_assets.annotations.judge import judgement, ledger, tables
    from jersey_assets.annotations.lines import rows
    from jersey_assets.annotations.progress import Progress
    from jersey_assets.annotations.rules import Rules
    from jersey_assets.annotations.schema import validated_schema

    def step() -> tuple[pd.DataFrame, pd.DataFrame]:
        rules = Rules()
        book = ledger.open_ledger(rows.read_rows(root, rules, Progress()))
        judgement.set_conflicts_aside(book, rules)
        judgement.merge_duplicates(book)
        judgement.set_unknown_labels_aside(book)
        judgement.warn_of_rare_labels(book, rules)
        judgement.warn_of_leading_zeros(book)
        book.close()
        columns = tables.row_columns(book, np.flatnonzero(book.kept))
        kept: pd.DataFrame = pa.table(columns).to_pandas()
        schema = validated_schema(rules).select_columns(list(columns))
        return schema.validate(kept), tables.findings_table(book)

    # pandera imports half of itself when it first validates something.
    validated_schema(Rules()).select_columns(["file", "line"]).validate(
        pd.DataFrame({"file": ["a"], "line": [1]})
    )
    return step


def decode(paths: list[str]) -> None:
    """Decode images and keep nothing."""
    for path in paths:
        with Image.open(path) as image:
            image.convert("RGB")


def decode_all(root: Path) -> Callable[[], object]:
    """A bare decode of every crop, in as many processes as there are cores."""
    paths = [str(path) for path in sorted(root.rglob("*.jpg"))]
    chunks = [paths[begin : begin + 128] for begin in range(0, len(paths), 128)]

    def step() -> None:
        cores = usable_cpus()
        with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
            list(pool.map(decode, chunks))

    return step


def validate(root: Path) -> Callable[[], object]:
    """Ours: a whole validation, with the cache beside the dataset."""
    from jersey_assets.annotations.rules import Rules
    from jersey_assets.annotations.validate import validate as judge

    return lambda: judge(root, Rules(), cache=root.with_suffix(".cache"))


STEPS = {
    "json": read_with_json,
    "polars": read_with_polars,
    "rows": read_rows,
    "decode": decode_all,
    "validate": validate,
}


def run_step(name: str, root: Path) -> None:
    """Run one step in this process and print what it cost, as JSON."""
    step = STEPS[name](root)
    begin, started = cpu_seconds(), time.perf_counter()
    step()
    cost = {
        "cpu": cpu_seconds() - begin,
        "wall": time.perf_counter() - started,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(cost))


def measure(name: str, root: Path) -> dict[str, float]:
    """Run one step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.annotations", "--step", name]
    done = subprocess.run(
        [*command, "--folder", str(root)], check=True, stdout=subprocess.PIPE
    )
    cost: dict[str, float] = json.loads(done.stdout)
    return cost


def report(what: str, cost: dict[str, float], base: dict[str, float] | None) -> float:
    """Print a line; returns CPU time beside that of the baseline."""
    ratio = cost["cpu"] / base["cpu"] if base else 1.0
    print(
        f"{what:44} {cost['cpu']:7.2f} s CPU  {cost['wall']:7.2f} s  "
        f"{cost['peak']:6.0f} MB  {ratio:6.3f} x"
    )
    return ratio


def summarize(ratios: dict[str, list[float]]) -> None:
    """Print the median ratio of each comparison; single runs share a busy machine."""
    for what, values in ratios.items():
        print(
            f"median of {len(values)} pairs: {what} {statistics.median(values):.3f} x"
        )


def bench_rows(folder: Path, count: int) -> None:
    """Rows without images."""
    root = folder / f"rows-{count}"
    if not root.exists():
        write_rows(root, count)
    size = sum(file.stat().st_size for file in annotation_files(root))
    print(f"\n{count:,} rows, {size / 1e6:.0f} MB")
    has_polars = importlib.util.find_spec("polars")
    if not has_polars:
        print("(b) polars.read_ndjson: polars is not installed, left out")
    ratios: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        bare = measure("json", root)
        report("(a) json.loads into (Path, int), no checks", bare, None)
        ours = measure("rows", root)
        what = "JSONL to both tables, every row judged"
        ratios["ours beside (a)"].append(report(what, ours, bare))
        if has_polars:
            table = measure("polars", root)
            report("(b) polars.read_ndjson alone", table, bare)
            ratios["ours beside (b)"].append(ours["cpu"] / table["cpu"])
    summarize(ratios)


def bench_images(folder: Path, count: int) -> None:
    """Crops probed, and probed again."""
    root = folder / f"images-{count}"
    if not root.exists():
        write_images(root, count)
    cache = root.with_suffix(".cache")
    rng = np.random.default_rng(time.time_ns())
    print(f"\n{count:,} crops")
    ratios: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        cache.unlink(missing_ok=True)
        time.sleep(3)  # the cache keeps nothing that changed a moment ago
        bare = measure("decode", root)
        report("Pillow decodes every crop, nothing else", bare, None)
        first = measure("validate", root)
        what = "whole validation, first time"
        ratios["validation beside Pillow"].append(report(what, first, bare))
        for path in sorted(root.rglob("*.jpg"))[:: max(1, count // 100)]:
            path.unlink()
            write_crop(path, rng)
        again = measure("validate", root)
        what = "validation again, 100 crops changed, beside the first"
        ratios["validation again beside the first"].append(report(what, again, first))
    summarize(ratios)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("rows", "images"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the data is kept for reuse")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_step(options.step, options.folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if options.what != "images":
            bench_rows(folder, options.rows)
        if options.what != "rows":
            bench_images(folder, options.images)


if __name__ == "__main__":
    main()
