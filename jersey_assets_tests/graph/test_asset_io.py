"""What an asset reads and publishes is what its definition says."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg

from jersey_assets.graph.asset_io import AssetIO
from jersey_assets.graph.resources import Artifacts
from jersey_assets.storage.manifest import Artifact, Origin
from jersey_assets.storage.store import Store


def write(folder: Path) -> None:
    (folder / "a.txt").write_text("a")


def page(artifact: Artifact) -> dict[str, str]:
    return {"headline": artifact.file("a.txt").read_text()}


def test_an_asset_reads_only_what_it_declares(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    store = Store(str(tmp_path))
    declared = store.publish("declared", Origin("code"), write, {"run_id": ""})
    store.publish("other", Origin("code"), write, {"run_id": ""})

    @dg.asset(deps=["declared"], code_version="7")
    def reader(
        context: dg.AssetExecutionContext, artifacts: Artifacts
    ) -> dg.MaterializeResult:
        io = AssetIO(context, artifacts)
        io.read("declared")
        if context.run.tags.get("wanted"):
            io.read("other")
        return io.publish(write, page)

    def run(**tags: str) -> dg.ExecuteInProcessResult:
        resources = {"artifacts": Artifacts(root=str(tmp_path))}
        return dg.materialize(
            [reader],
            instance=instance,
            resources=resources,
            tags=tags,
            raise_on_error=False,
        )

    refused = run(wanted="yes")
    (failure,) = refused.get_step_failure_events()
    said = str(failure.step_failure_data.error)
    assert "reader reads other, which is not among its deps (declared)" in said
    assert store.current("reader") is None

    made = run()
    assert made.success
    published = store.require("reader")
    assert published.manifest["code_version"] == "7"
    assert published.manifest["run_id"] == made.run_id
    assert published.manifest["inputs"] == {
        "declared": {"version": declared.version, "digest": declared.digest}
    }
    (event,) = made.asset_materializations_for_node("reader")
    assert event.metadata["headline"].value == "a"
    uri = urlsplit(str(event.metadata["dagster/uri"].value))
    assert (Path(unquote(uri.path)) / "a.txt").read_text() == "a"
    assert event.metadata["unchanged"].value is False
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == published.digest
