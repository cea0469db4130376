"""What tests share: a small rendered dataset, an instance, the graph run on both."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import fsspec
import pytest
from hypothesis import HealthCheck, settings

from jersey_assets.definitions import defs
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.rendering.dataset import render_dataset
from jersey_assets.storage.owner import DatasetRoot, adopt
from jersey_assets.storage.store import Store

# A busy machine takes its time over an example.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

REAL_DATA = Path(
    os.environ.get("JERSEY_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")
)
TINY_RECIPE = {
    "epochs": 2,
    "batch_size": 32,
    "image_size": 32,
    "learning_rate": 0.002,
}
GOOD_RECIPE = TINY_RECIPE | {
    "epochs": 40,
    "batch_size": 16,
    "learning_rate": 0.003,
    "augmentation": {
        "rotation": 6.0,
        "zoom": 0.15,
        "aspect": 0.05,
        "shift": 0.06,
        "shear": 0.1,
        "perspective": 0.05,
        "downscale_chance": 0.0,
        "blur_chance": 0.0,
        "noise_chance": 0.0,
        "erasing_chance": 0.0,
    },
}
"""Reads enough of the rendered numbers to be released: so few crops bear little
augmentation."""


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of some 200 rendered crops; tests that change it copy it first."""
    root = tmp_path_factory.mktemp("data") / "rendered"
    render_dataset(root, train=160, valid=40, test=40, seed=7)
    return root


@pytest.fixture(scope="session")
def whole_run(
    rendered: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dg.ExecuteInProcessResult, Path]:
    """A run of the whole graph and its artifacts, which tests copy to change them."""
    artifacts = tmp_path_factory.mktemp("whole")
    with dg.instance_for_test() as instance:
        return run_graph(rendered, artifacts, instance, GOOD_RECIPE), artifacts


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A real Dagster instance of one test."""
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """The instance of a Dagster home with the shipped settings."""
    shutil.copy(Path(__file__).parents[1] / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 server in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty bucket; the environment says where the server is."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    name = uuid.uuid4().hex
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"


def run_graph(
    data: Path | str,
    artifacts: Path | str,
    instance: dg.DagsterInstance,
    recipe: Mapping[str, Any] = TINY_RECIPE,
    until: str = "",
    **dataset: Any,
) -> dg.ExecuteInProcessResult:
    """Materializes the whole graph in this process, or what leads to one asset."""
    wanted = dg.AssetSelection.assets(*filter(None, ["rejected_annotations", until]))
    return dg.materialize(
        [*(defs.assets or ()), *(defs.asset_checks or ())],
        selection=wanted.upstream() if until else None,
        instance=instance,
        resources={
            "dataset": Dataset(root=str(data), **dataset),
            "artifacts": Artifacts(root=str(artifacts)),
        },
        run_config={"ops": {"trained_checkpoint": {"config": dict(recipe)}}}
        if until in ("", "trained_checkpoint", "evaluation_report")
        else None,
        raise_on_error=False,
    )


def hand_over(artifacts: Path | str, data: Path) -> None:
    """Makes copied artifacts those of a dataset that was copied, too."""
    adopt(Store(str(artifacts)), DatasetRoot(str(data)))


def check_results(
    result: dg.ExecuteInProcessResult,
) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """The checks that reported in a run, by asset and name."""
    return {
        (found.asset_key.to_user_string(), found.check_name): found
        for found in result.get_asset_check_evaluations()
    }


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    """The assets that a run materialized."""
    return {
        event.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }
