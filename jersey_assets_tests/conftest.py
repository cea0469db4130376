"""What tests share: a small rendered dataset, an instance, the graph run on both."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import fsspec
import pytest
from hypothesis import HealthCheck, settings

from jersey_assets.rendering.dataset import render_dataset
from jersey_assets_tests.whole_graph import GOOD_RECIPE, run_graph

if TYPE_CHECKING:
    import onnx

    from jersey_assets.training.checkpoint import Checkpoint

# A busy machine takes its time over an example.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


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


@pytest.fixture(scope="session")
def small() -> Checkpoint:
    """A checkpoint of a network that is quick to export."""
    from jersey_assets_tests.export.models import small_checkpoint

    return small_checkpoint()


@pytest.fixture(scope="session")
def small_bytes(small: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The small checkpoint's model, as the exporter writes it."""
    from jersey_assets_tests.export.models import export

    folder = export(small, tmp_path_factory.mktemp("small"))
    return (folder / "model.onnx").read_bytes()


@pytest.fixture
def proto(small_bytes: bytes) -> onnx.ModelProto:
    """The small model, to be broken."""
    import onnx

    return onnx.ModelProto.FromString(small_bytes)


@pytest.fixture(scope="session")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A recipe's network in a checkpoint file that was written and read."""
    from jersey_assets_tests.export.models import resnet_checkpoint

    return resnet_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model.ckpt")


@pytest.fixture(scope="session")
def resnet_folder(resnet: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That network's model, as the exporter writes it."""
    from jersey_assets_tests.export.models import export

    return export(resnet, tmp_path_factory.mktemp("resnet"))
