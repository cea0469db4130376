"""The cache saves work, never changes an answer and can always be thrown away."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jersey_assets.annotations.disk.errors import AnnotationError
from jersey_assets.annotations.images import cache as cache_room
from jersey_assets.annotations.images import measure_pool
from jersey_assets.annotations.images.measure import Limits, Probed
from jersey_assets.annotations.progress import Progress
from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate
from jersey_assets_tests.annotations.datasets import Dataset, noise

NOW = time.time


def settle(root: Path) -> None:
    """Wait until the dataset's files are old enough to be remembered."""
    newest = max(max(s.st_mtime, s.st_ctime) for s in map(os.stat, root.rglob("*.png")))
    time.sleep(max(0.0, newest + 2.05 - NOW()))


@pytest.fixture
def _files_settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_room, "_SETTLED_NS", 0)


def opened_images(data: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Validate and count the images that were decoded; the answer must not change."""
    counted: list[str] = []
    real = measure_pool.probe_images

    def counting(root: str, paths: list[str], limits: Limits) -> measure_pool.Probed:
        counted.extend(paths)
        return real(root, paths, limits)

    monkeypatch.setattr(measure_pool, "probe_images", counting)
    remembered = validate(data.root, Rules(), cache=cache)
    monkeypatch.setattr(measure_pool, "probe_images", real)
    assert remembered.digest == validate(data.root, Rules()).digest
    return len(counted)


def test_only_what_changed_is_opened_again(
    good: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "deep/cache.parquet"
    settle(good.root)
    assert opened_images(good, cache, monkeypatch) == 20
    assert opened_images(good, cache, monkeypatch) == 0
    good.image("train/crops/3.png", 77)
    assert opened_images(good, cache, monkeypatch) == 1
    # Changed within two seconds of being probed, it is not trusted yet.
    assert opened_images(good, cache, monkeypatch) == 1
    settle(good.root)
    assert opened_images(good, cache, monkeypatch) == 1
    assert opened_images(good, cache, monkeypatch) == 0
    cache.unlink()
    assert opened_images(good, cache, monkeypatch) == 20


@pytest.mark.usefixtures("_files_settle_at_once")
def test_a_rewrite_of_the_same_size_and_time_is_seen(
    good: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache.parquet"
    good.image("train/crops/3.png", noise(77))
    opened_images(good, cache, monkeypatch)
    path = good.root / "train/crops/3.png"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert opened_images(good, cache, monkeypatch) == 1


@pytest.mark.usefixtures("_files_settle_at_once")
@pytest.mark.parametrize("damage", ["cut", "flipped", "junk", "empty", "folder"])
def test_a_damaged_cache_is_ignored(
    good: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    cache = tmp_path / "cache.parquet"
    opened_images(good, cache, monkeypatch)
    data = cache.read_bytes()
    if damage == "folder":
        cache.unlink()
        cache.mkdir()
    elif damage == "flipped":
        place = data.index(noise(0).tobytes()[:1], len(data) // 3)
        cache.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    else:
        parts = {"cut": data[: len(data) // 2], "junk": b"junk", "empty": b""}
        cache.write_bytes(parts[damage])
    assert opened_images(good, cache, monkeypatch) == 20


@pytest.mark.usefixtures("_files_settle_at_once")
def test_a_cache_of_looser_rules_does_not_let_large_images_through(
    good: Dataset, tmp_path: Path
) -> None:
    cache = tmp_path / "cache.parquet"
    validate(good.root, Rules(), cache=cache)
    strict = validate(good.root, Rules(max_pixels=100), cache=cache)
    assert set(strict.rejected["reason"]) >= {"image.too_large"}
    assert strict.summary["kept"] == 0


@pytest.mark.usefixtures("_files_settle_at_once")
def test_faulty_images_are_looked_at_every_time(
    good: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache.parquet"
    good.image("train/crops/3.png", b"broken")
    assert opened_images(good, cache, monkeypatch) == 20
    assert opened_images(good, cache, monkeypatch) == 1


def measure(data: Dataset, paths: list[str]) -> Probed:
    """Measures images without a cache."""
    unused = np.zeros((len(paths), 5), np.int64)
    return measure_pool.probe_all(str(data.root), paths, unused, Rules(), Progress())


def test_workers_find_what_this_process_finds(
    good: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    good.image("train/crops/x.png", b"broken")
    paths = sorted(
        path.relative_to(good.root).as_posix() for path in good.root.rglob("*.png")
    )
    here = measure(good, paths)
    monkeypatch.setattr(measure_pool, "_FEW", 0)
    monkeypatch.setattr(measure_pool, "_CHUNK", 4)
    there = measure(good, paths)
    assert np.array_equal(here.values, there.values)
    assert here.faults == there.faults
    assert [paths[position] for position in here.faults] == ["train/crops/x.png"]


def test_an_image_that_kills_the_decoder_costs_itself_alone(
    good: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A worker dies of `train/crops/5.png`, as a crash in a C library would kill it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def hook(event, arguments):\n"
        "    if event == 'open' and arguments[0] == '5.png':\n"
        "        os._exit(139)\n"
        "sys.addaudithook(hook)\n"
    )
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(measure_pool, "_FEW", 0)
    validation = good.validate()
    assert list(validation.rejected["reason"]) == ["image.decode"]
    assert list(validation.rejected["image"]) == ["train/crops/5.png"]
    assert validation.summary["kept"] == 19


def test_code_that_lies_where_the_command_is_called_does_not_run(
    good: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (good.root / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(good.root)
    monkeypatch.setattr(measure_pool, "_FEW", 0)
    assert good.validate().summary["outcome"] == "accept"


def test_workers_that_cannot_start_are_no_fault_of_the_images(
    good: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_pool, "_FEW", 0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(AnnotationError, match="did not start"):
        good.validate()
