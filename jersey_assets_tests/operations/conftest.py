"""A sensor on a dataset of the test's own, and one after a training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets_tests.operations.ticking import Sensor
from jersey_assets_tests.whole_graph import hand_over


@pytest.fixture
def file(rendered: Path, tmp_path: Path) -> Path:
    """A file of a dataset of the test's own."""
    shutil.copytree(rendered, tmp_path / "data")
    return tmp_path / "data" / "train" / "annotations.jsonl"


@pytest.fixture
def sensor(file: Path, tmp_path: Path, instance: dg.DagsterInstance) -> Sensor:
    return Sensor(tmp_path / "data", tmp_path / "artifacts", instance)


@pytest.fixture(scope="session")
def once_trained(
    rendered: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dg.DagsterInstance]]:
    """Artifacts and instance after one training, for all tests to copy or read."""
    artifacts = tmp_path_factory.mktemp("trained")
    with dg.instance_for_test() as instance:
        Sensor(rendered, artifacts, instance).train()
        yield artifacts, instance


@pytest.fixture
def trained(sensor: Sensor, once_trained: tuple[Path, dg.DagsterInstance]) -> Sensor:
    """After a training on the dataset, whose run the instance does not know."""
    shutil.copytree(once_trained[0], sensor.artifacts)
    hand_over(sensor.artifacts, sensor.data)
    return sensor
