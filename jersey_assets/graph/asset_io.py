"""AssetIO: how an asset reads its inputs from the store and publishes its result.

Name, code version and allowed inputs come from the asset's definition. What an asset
reads is recorded as the origin of what it publishes, and it can read only what it
declares: so the graph in the UI is the graph that is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from jersey_assets.graph.parts import Page
from jersey_assets.graph.resources import Artifacts
from jersey_assets.runs.dagster_internals import forget_input_version
from jersey_assets.runs.history import READ_TAG
from jersey_assets.storage.manifest import Artifact, Origin

# What a manifest copies from the manifests of its inputs.
_INHERITED = ("dataset", "dataset_fingerprint", "dataset_rows", "recipe_hash")


class UndeclaredInputError(RuntimeError):
    """An asset reads an asset that is not among its `deps`."""


class AssetIO:
    """One asset's access to the store during one run."""

    def __init__(self, context: dg.AssetExecutionContext, artifacts: Artifacts) -> None:
        """Opens the store for the asset that runs in this context."""
        self._context = context
        self._asset = context.assets_def
        self._inputs: list[Artifact] = []
        self.store = artifacts.store()

    def read(self, asset: str) -> Artifact:
        """Reads an input's current version and records it as part of the origin.

        Raises:
            UndeclaredInputError: it is not among the `deps` of the asset that runs.
            StorageError: the input has not been materialized, or is damaged.
        """
        declared = [key.to_user_string() for key in self._asset.dependency_keys]
        if asset not in declared:
            raise UndeclaredInputError(
                f"{self._asset.op.name} reads {asset}, which is not among its deps "
                f"({', '.join(sorted(declared)) or 'none'}); add it, so that the graph "
                "shows it and runs it first"
            )
        artifact = self.store.require(asset)
        self._inputs.append(artifact)
        return artifact

    def publish(
        self,
        write: Callable[[Path], None],
        page: Callable[[Artifact], Page],
        settings: Mapping[str, Any] | None = None,
        asset: str = "",
        **facts: str,
    ) -> dg.MaterializeResult[Any]:
        """Stores what `write` makes, as `store_artifact` does, and reports it.

        Args:
            write: as in `store_artifact`.
            page: what the asset's page shows of an artifact, read from its files, so
                that stored and new artifacts look the same.
            settings: as in `store_artifact`.
            asset: as in `store_artifact`.
            facts: as in `store_artifact`.
        """
        artifact = self.store_artifact(write, settings, asset, **facts)
        return self.report(artifact, page(artifact))

    def store_artifact(
        self,
        write: Callable[[Path], None],
        settings: Mapping[str, Any] | None = None,
        asset: str = "",
        **facts: str,
    ) -> Artifact:
        """Stores what `write` makes, unless the same artifact is there already.

        Args:
            write: writes the artifact's files into an empty folder.
            settings: what determines the content besides the inputs and the code.
            asset: the asset's name, if the op that runs makes several.
            facts: provenance for the manifest.
        """
        key = dg.AssetKey(asset) if asset else self._asset.key
        code_version = str(self._asset.code_versions_by_key[key])
        origin = Origin(code_version, tuple(self._inputs), settings or {})
        for artifact in self._inputs:
            inherited = {k: v for k, v in artifact.manifest.items() if k in _INHERITED}
            facts = inherited | facts
        facts["run_id"] = self._context.run.run_id
        return self.store.publish(key.to_user_string(), origin, write, facts)

    def report(self, artifact: Artifact, shown: Page) -> dg.MaterializeResult[Any]:
        """Reports an artifact to Dagster; its digest is the data version.

        Args:
            artifact: what readers will find in the store.
            shown: what its page shows in addition to what all pages show.
        """
        sizes = [entry["size"] for entry in artifact.manifest["files"].values()]
        return dg.MaterializeResult(
            asset_key=artifact.asset,
            metadata={
                **shown,
                "path": dg.MetadataValue.path(artifact.location),
                "dagster/uri": _uri(artifact.location),
                "version": artifact.version,
                "bytes": sum(sizes),
                "unchanged": artifact.manifest["run_id"] != self._context.run.run_id,
            },
            data_version=dg.DataVersion(artifact.digest),
        )


def _uri(location: str) -> str:
    return location if "://" in location else Path(location).absolute().as_uri()


def observe_input(
    context: dg.AssetExecutionContext, asset: dg.AssetKey, data_version: str
) -> None:
    """Tells Dagster which version of an external asset this step has read.

    Otherwise the step would be linked to the version that was observed last before it
    started, and the UI would show its result as stale. The run is tagged with it as
    well, so that the sensor knows what a run has read, whoever started it.
    """
    tags = {"dagster/data_version": data_version}
    context.instance.report_runless_asset_event(dg.AssetObservation(asset, tags=tags))
    forget_input_version(context, asset)
    context.instance.add_run_tags(context.run.run_id, {READ_TAG: data_version})
