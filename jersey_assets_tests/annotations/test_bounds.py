"""What a file says is shortened where it is told, and a deep or looped tree ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jersey_assets.annotations.disk.listing import MAX_DEPTH
from jersey_assets.annotations.disk.paths import MAX_BYTES
from jersey_assets.annotations.disk.watch import Watch
from jersey_assets.labels.statistics import dataset_statistics
from jersey_assets_tests.annotations.datasets import TRAIN_ROWS, Dataset, found, row

MANY = 120
MEGABYTE = "x" * 1_000_000
MEASURED = """
import sys
from jersey_assets.cli import main

code = main(sys.argv[1:])
# Not getrusage: that counts what the test's own process held before the start.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("peak", status["VmHWM"].split()[0], file=sys.stderr)
sys.exit(code)
"""


def validate(root: Path, *options: str) -> tuple[str, int]:
    """What the command prints, and its peak memory in bytes."""
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, "validate", str(root), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode in (0, 1), ended.stderr[-2000:]
    return ended.stdout, int(ended.stderr.split()[-1]) * 1024


ROWS = {
    "image": lambda n: row(f"{n}{MEGABYTE}", "7"),
    "folders": lambda n: row(f"{n}/" + "d/" * 500_000, "7"),
    "suffix": lambda n: row(f"crops/{n % TRAIN_ROWS}.png", f"{n}{MEGABYTE}"),
    "any label": lambda n: row(f"crops/{n % TRAIN_ROWS}.png", f"{n}{MEGABYTE}"),
    "prefix": lambda n: row("crops/0.png", "7", prefix=f"{n}{MEGABYTE}"),
    "value": lambda n: row("crops/0.png", "7", metadata={"k": f"{n}{MEGABYTE}"}),
    "key": lambda n: row("crops/0.png", "7", metadata={f"{n}{MEGABYTE}": n}),
    "extra": lambda n: row("crops/0.png", "7", **{f"{n}{MEGABYTE}": MEGABYTE[:9]}),
    "number": lambda n: row("crops/0.png", int("7" * 4_000)),
    "type": lambda n: row("crops/0.png", [f"{n}{MEGABYTE}"]),
}


@pytest.mark.parametrize("field", ROWS)
def test_megabytes_in_a_field_neither_flood_the_output_nor_the_memory(
    good: Dataset, field: str
) -> None:
    good.lines("train/more.jsonl", [ROWS[field](n) for n in range(MANY)])
    # A pattern that takes anything lets long labels into the table.
    options = ["--label-pattern", ".*"] if field == "any label" else []
    printed, peak = validate(good.root, *options)
    assert len(printed) < 200_000
    assert max(map(len, printed.splitlines())) < 3_000
    assert "train/more.jsonl" in printed
    # Labels of that pattern are data, and stay whole.
    assert peak < (1_200_000_000 if field == "any label" else 600_000_000)


def test_a_path_longer_than_any_file_can_have_is_invalid_and_cut(good: Dataset) -> None:
    longest = "d/" * ((MAX_BYTES - 1) // 2)
    lines = [row(path, "7") for path in (longest + "ab", "é" * 3_000, "d/" * 129 + "a")]
    good.lines("train/annotations.jsonl", lines)
    validation = good.validate()
    assert found(validation) == {
        ("train/annotations.jsonl", TRAIN_ROWS + n, "path.invalid") for n in (1, 2, 3)
    }
    assert validation.rejected["image"].isna().all()
    assert validation.rejected["message"].str.len().max() < 300


def test_deep_folders_with_long_names_are_told_in_short_lines(good: Dataset) -> None:
    folder = good.root / "train"
    here = os.open(folder, os.O_RDONLY)
    for _ in range(MAX_DEPTH - 1):
        os.mkdir("f" * 255, dir_fd=here)
        inner = os.open("f" * 255, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    name = "n" * 249 + ".jsonl"
    deep = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(deep, b'{"image": "none.png", "suffix": "7"}\n' * MANY)
    os.close(deep)
    os.close(here)
    printed, _ = validate(good.root)
    assert printed.count("path.missing") >= MANY
    assert max(map(len, printed.splitlines())) < 3_000
    assert f"{'n' * 60}.jsonl:{MANY}: error" in printed


def test_metadata_of_any_size_has_statistics_of_a_few_short_keys(
    good: Dataset,
) -> None:
    crop = good.validate().validated.iloc[:1]  # of train

    def count(rows: list[dict[str, object]]) -> dict[str, dict[str, int]]:
        table = crop.loc[crop.index.repeat(len(rows) + 1)]
        texts = [*map(json.dumps, rows), None]
        found = dataset_statistics(good.root, table.assign(metadata=texts))
        counted: dict[str, dict[str, int]] = found["metadata"]
        return counted

    rows = [{f"{n}-{k}": "v" for k in range(500)} for n in range(100)]
    rows += [{"color": f"{n}{MEGABYTE}", "none": None} for n in range(30)]
    rows += [{"color": "red"}, {"color": "red"}]
    assert 0 < len(count(rows)) < 20
    counted = count(rows[100:])
    assert set(counted) == {"color"}
    assert counted["color"]["red"] == 2
    assert counted["color"]["(other)"] > 0
    assert sum(counted["color"].values()) == 32
    assert max(map(len, counted["color"])) < 100


def test_a_link_that_loops_is_told_and_no_row_is_read_twice(good: Dataset) -> None:
    (good.root / "train/loop").symlink_to("..")
    validation = good.validate()
    assert found(validation) == {("train/loop", 0, "file.linked")}
    assert validation.summary["rows"] == validation.summary["kept"]
    assert validation.summary["outcome"] == "accept_with_warning"
    seen = Watch(good.root).look(deadline_s=60)
    assert seen.rows == validation.summary["rows"]
    assert seen.fingerprint.digest == validation.summary["fingerprint"]


def test_a_file_is_read_under_its_own_name_or_the_first_link_to_it(
    good: Dataset,
) -> None:
    (good.root / "train/0.jsonl").symlink_to("annotations.jsonl")
    good.lines("shared/rows.jsonl", [row("../train/crops/0.png", "7")])
    (good.root / "train/b.jsonl").symlink_to("../shared/rows.jsonl")
    (good.root / "valid/a.jsonl").symlink_to("../shared/rows.jsonl")
    validation = good.validate()
    linked = {place for place in found(validation) if place[2] == "file.linked"}
    assert linked == {
        ("train/0.jsonl", 0, "file.linked"),
        ("valid/a.jsonl", 0, "file.linked"),
    }


def test_a_finding_about_a_split_names_no_line(good: Dataset) -> None:
    (good.root / "valid/annotations.jsonl").unlink()
    (good.root / "train/loop").symlink_to("..")
    printed, _ = validate(good.root)
    lines = printed.splitlines()
    assert any(line.startswith("valid: error: dataset.no_valid: ") for line in lines)
    assert any(line.startswith("train/loop: warning: file.linked") for line in lines)
    assert ":0:" not in printed
