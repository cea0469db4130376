"""The sensor's ticks, on a real instance."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets.automation import new_annotations
from jersey_assets.definitions import defs
from jersey_assets.resources import Artifacts, Dataset
from jersey_assets_tests.conftest import run_graph


class Sensor:
    """Ticks the sensor as the daemon does, keeping its cursor."""

    def __init__(self, data: Path, artifacts: Path, instance: dg.DagsterInstance):
        self.instance = instance
        self.cursor: str | None = None
        self.resources = {
            "dataset": Dataset(root=str(data)),
            "artifacts": Artifacts(root=str(artifacts)),
        }

    def tick(self) -> list[str]:
        """Run keys that one tick asks for."""
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, resources=self.resources
        )
        data = new_annotations.evaluate_tick(context)
        self.cursor = data.cursor or self.cursor
        return [str(request.run_key) for request in data.run_requests or []]


@pytest.fixture
def sensor(rendered: Path, tmp_path: Path, instance: dg.DagsterInstance) -> Sensor:
    data = shutil.copytree(rendered, tmp_path / "data")
    return Sensor(Path(data), tmp_path / "artifacts", instance)


@pytest.fixture
def file(sensor: Sensor, tmp_path: Path) -> Path:
    return tmp_path / "data" / "train" / "annotations.jsonl"


def test_annotations_that_nothing_was_trained_on_are_asked_for_once(
    sensor: Sensor,
) -> None:
    assert len(sensor.tick()) == 1
    assert sensor.tick() == []
    assert sensor.tick() == []


def test_annotations_already_trained_on_are_not_asked_for(
    sensor: Sensor, rendered: Path, tmp_path: Path
) -> None:
    assert run_graph(tmp_path / "data", tmp_path / "artifacts", sensor.instance).success
    assert sensor.tick() == []


def test_a_changed_added_or_removed_file_is_asked_for(
    sensor: Sensor, file: Path
) -> None:
    sensor.tick()
    whole = file.read_text()
    file.write_text(whole + whole.splitlines()[0] + "\n")
    assert len(sensor.tick()) == 1
    (file.parent / "more.jsonl").write_text("")
    assert len(sensor.tick()) == 1
    (file.parent / "more.jsonl").unlink()
    assert len(sensor.tick()) == 1
    assert sensor.tick() == []


def test_the_same_content_written_again_is_not_asked_for(
    sensor: Sensor, file: Path
) -> None:
    sensor.tick()
    file.write_bytes(file.read_bytes())
    assert sensor.tick() == []


def test_going_back_to_earlier_annotations_is_asked_for_with_a_new_key(
    sensor: Sensor, file: Path
) -> None:
    keys = sensor.tick()
    first = file.read_text()
    file.write_text(first.splitlines()[0] + "\n")
    keys += sensor.tick()
    file.write_text(first)
    keys += sensor.tick()
    assert len(set(keys)) == 3


def test_a_missing_root_is_a_reason_and_not_an_error(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    sensor = Sensor(tmp_path / "none", tmp_path / "artifacts", instance)
    assert sensor.tick() == []


def test_a_tick_tells_the_graph_what_is_on_disk(sensor: Sensor) -> None:
    context = dg.build_sensor_context(sensor.instance, resources=sensor.resources)
    (event,) = new_annotations.evaluate_tick(context).asset_events
    assert event.asset_key == dg.AssetKey("annotation_files")
    assert event.tags["dagster/data_version"]


def test_the_jobs_cover_the_graph_and_the_annotations() -> None:
    whole = defs.resolve_job_def("retrain").asset_layer.selected_asset_keys
    assert len(whole) == 11
    part = defs.resolve_job_def("validate_annotations").asset_layer.selected_asset_keys
    assert {key.to_user_string() for key in part} == {
        "validated_annotations",
        "rejected_annotations",
    }


def test_the_validation_job_runs_the_checks_of_the_annotations(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = defs.resolve_job_def("validate_annotations").execute_in_process(
        instance=instance,
        run_config={
            "resources": {
                "dataset": {"config": {"root": str(rendered)}},
                "artifacts": {"config": {"root": str(tmp_path)}},
            }
        },
    )
    assert result.success
    assert len(result.get_asset_check_evaluations()) == 7
