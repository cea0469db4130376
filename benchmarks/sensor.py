"""What a tick of `new_annotations` costs: seconds, and bytes of cursor.

For 10, 1,000 and 10,000 files of 20 rows: the first tick of a process, which reads
every file; ticks that find them unchanged, which is what a sensor does all year; a tick
after one file was replaced. Each is a whole tick on a real instance in a folder.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import dagster as dg

from jersey_assets.annotations.disk.fingerprint import fingerprint
from jersey_assets.graph.resources import Artifacts, Dataset, Retraining
from jersey_assets.operations.sensors import new_annotations
from jersey_assets.storage.manifest import Origin
from jersey_assets.storage.store import Store

FILES = (10, 1_000, 10_000)
ROWS = 20
UNCHANGED = 11


def draw_files(root: Path, number: int) -> None:
    """Writes JSONL files, a hundred to a folder."""
    for index in range(number):
        folder = root / "train" / f"{index // 100:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        line = f'{{"image": "crops/{index}.jpg", "suffix": "{index % 100}"}}\n'
        (folder / f"{index}.jsonl").write_text(line * ROWS)


def publish_trained(root: Path, digest: str) -> None:
    """Publishes a training that read the annotations with this fingerprint."""
    Store(str(root)).publish(
        "trained_checkpoint",
        Origin("code"),
        lambda folder: (folder / "model.ckpt").touch(),
        {"dataset_fingerprint": digest, "run_id": "none"},
    )


def measure(folder: Path, number: int) -> str:
    """Ticks over so many files, and says what that took."""
    data, artifacts = folder / "data", folder / "artifacts"
    draw_files(data, number)
    publish_trained(artifacts, fingerprint(data).digest)
    time.sleep(3)  # files that have just changed are read twice
    resources = {
        "dataset": Dataset(root=str(data)),
        "artifacts": Artifacts(root=str(artifacts)),
        "retraining": Retraining(),
    }
    cursor = None

    def tick(instance: dg.DagsterInstance) -> float:
        nonlocal cursor
        with dg.build_sensor_context(
            instance, cursor=cursor, resources=resources
        ) as context:
            start = time.perf_counter()
            result = new_annotations.evaluate_tick(context)
            seconds = time.perf_counter() - start
        assert not result.run_requests
        cursor = result.cursor
        return seconds

    (folder / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "home")) as instance:
        first = tick(instance)
        unchanged = [tick(instance) for _ in range(UNCHANGED)]
        file = data / "train" / "000" / "0.jsonl"
        other = file.with_suffix(".part")
        other.write_text(file.read_text().replace('"0"', '"1"'))
        os.replace(other, file)
        replaced = tick(instance)
    return (
        f"{number:>7,} {first:>8.3f} {statistics.median(unchanged):>10.3f} "
        f"{max(unchanged):>10.3f} {replaced:>9.3f} {len(cursor or ''):>8}"
    )


def main() -> None:
    """Prints a line for each number of files."""
    print("  files    first  unchanged      worst  replaced   cursor")
    print("               s   median s          s         s    bytes")
    for number in FILES:
        with tempfile.TemporaryDirectory() as folder:
            print(measure(Path(folder), number))


if __name__ == "__main__":
    main()
