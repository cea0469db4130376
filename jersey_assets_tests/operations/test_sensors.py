"""Which annotations the sensor asks for."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import dagster as dg
import fsspec
import pytest

from jersey_assets.annotations.disk.fingerprint import fingerprint
from jersey_assets.runs.history import ASKED_TAG, READ_TAG
from jersey_assets_tests.operations.ticking import Sensor


def test_annotations_are_asked_for_once_when_they_have_stayed_for_two_ticks(
    sensor: Sensor,
) -> None:
    run = sensor.ask()
    digest = fingerprint(sensor.data).digest
    assert run.tags["dagster/run_key"] == f"{digest}-1"
    assert run.tags[READ_TAG] == run.tags[ASKED_TAG] == digest
    sensor.quiet("is under way", ticks=3)
    assert len(sensor.cursor or "") < 300


def test_annotations_that_keep_changing_are_waited_for(
    sensor: Sensor, file: Path
) -> None:
    for number in range(3):
        (file.parent / f"{number}.jsonl").write_text("")
        sensor.quiet("a second look", ticks=1)
    assert len(sensor.tick()) == 1


def test_annotations_already_trained_on_are_not_asked_for(trained: Sensor) -> None:
    trained.quiet("the same as the last training read")


def test_an_added_changed_or_removed_file_is_asked_for(
    trained: Sensor, file: Path
) -> None:
    trained.quiet("the same")
    whole = file.read_text()
    more = file.parent / "more.jsonl"
    for change in (
        lambda: file.write_text(whole + whole.splitlines()[0] + "\n"),
        lambda: more.write_text(whole.splitlines()[0] + "\n"),
        more.unlink,
    ):
        change()
        trained.end(trained.ask())


def test_the_same_content_written_again_or_replaced_is_not_asked_for(
    trained: Sensor, file: Path
) -> None:
    trained.quiet("the same")
    file.write_bytes(file.read_bytes())
    os.utime(file, (1, 1))
    trained.quiet("the same")
    copy = Path(shutil.copy(file, file.with_name("copy")))
    copy.replace(file)
    trained.quiet("the same")


def test_annotations_at_a_url_are_asked_for(
    sensor: Sensor, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    s3, url = fsspec.filesystem("s3"), f"{bucket}/data"
    s3.put(str(sensor.data), url, recursive=True)
    local = fingerprint(sensor.data)
    sensor.data = url
    assert sensor.ask().tags[READ_TAG] == local.digest
    s3.rm(url, recursive=True)
    sensor.quiet("holds no files, or does not exist")


def test_a_burst_of_files_makes_one_run(sensor: Sensor, file: Path) -> None:
    line = file.read_text().splitlines()[0] + "\n"
    for number in range(250):
        (file.parent / f"a{number}.jsonl").write_text(line)
    sensor.tick()
    for number in range(250):
        (file.parent / f"b{number}.jsonl").write_text(line)
    run = sensor.ask()
    (file.parent / "c.jsonl").write_text(line)
    sensor.quiet("is under way", ticks=3)
    # The run reads what is there when it starts, and says so; nothing is left to do.
    digest = fingerprint(sensor.data).digest
    sensor.instance.add_run_tags(run.run_id, {READ_TAG: digest})
    sensor.quiet("is under way")


def test_going_back_to_annotations_trained_on_before_is_asked_for_again(
    trained: Sensor, file: Path, once_trained: tuple[Path, dg.DagsterInstance]
) -> None:
    first, trained.instance = file.read_bytes(), once_trained[1]
    trained.quiet("the same")
    file.write_bytes(b"".join(first.splitlines(keepends=True)[:-10]))
    second = trained.ask()
    trained.end(second)
    file.write_bytes(first)
    trained.quiet("the same as the last training read")
    file.write_bytes(b"".join(first.splitlines(keepends=True)[:-10]))
    again = trained.ask()
    assert again.tags["dagster/run_key"] != second.tags["dagster/run_key"]
    trained.end(again)


def test_a_rollback_of_the_release_stays(trained: Sensor) -> None:
    released = trained.artifacts / "released_model"
    released.mkdir()
    (released / "current.json").write_text(json.dumps({"version": "an-older-one"}))
    trained.quiet("the same as the last training read")


def test_a_tick_tells_the_graph_what_is_on_disk(sensor: Sensor) -> None:
    sensor.tick()
    key = dg.AssetKey("annotation_files")
    (record,) = sensor.instance.fetch_observations(key, limit=9).records
    assert record.asset_observation is not None
    version = record.asset_observation.tags["dagster/data_version"]
    assert version == fingerprint(sensor.data).digest
