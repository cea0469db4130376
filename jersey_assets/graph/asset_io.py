"""How an asset reads its inputs and publishes what a room made.

Whatever an asset reads through its desk is recorded as the origin of what it
publishes, so provenance cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from jersey_assets.graph import metadata
from jersey_assets.graph.resources import Artifacts
from jersey_assets.runs.history import READ_TAG
from jersey_assets.storage.manifest import Artifact, Origin

# What a manifest takes over from the artifacts it was made from.
_INHERITED = ("dataset", "dataset_fingerprint", "dataset_rows", "recipe_hash")


class Desk:
    """One asset's access to the store during one run."""

    def __init__(self, context: dg.AssetExecutionContext, artifacts: Artifacts) -> None:
        """Opens the store for the asset that runs in this context."""
        self._context = context
        self.store = artifacts.store()
        self._inputs: list[Artifact] = []

    def read(self, asset: str) -> Artifact:
        """Reads an input's current version and records it as part of the origin.

        Raises:
            StorageError: the input was not materialized yet, or is damaged.
        """
        artifact = self.store.require(asset)
        self._inputs.append(artifact)
        return artifact

    def publish(
        self,
        asset: str,
        make: Callable[[Path], None],
        settings: Mapping[str, Any] | None = None,
        **facts: str,
    ) -> dg.MaterializeResult[Any]:
        """Stores what `make` writes, as `store_artifact` does, and reports it."""
        artifact = self.store_artifact(asset, make, settings, **facts)
        reused = artifact.manifest["run_id"] != self._context.run.run_id
        return materialized(artifact, reused=reused)

    def store_artifact(
        self,
        asset: str,
        make: Callable[[Path], None],
        settings: Mapping[str, Any] | None = None,
        **facts: str,
    ) -> Artifact:
        """Stores what `make` writes, unless the same artifact is there already.

        Args:
            asset: the asset's name.
            make: writes the artifact's files into a folder.
            settings: what decides the content beside the inputs and the code.
            facts: provenance for the manifest.
        """
        versions = self._context.assets_def.code_versions_by_key
        code_version = str(versions[dg.AssetKey(asset)])
        origin = Origin(code_version, tuple(self._inputs), settings or {})
        for artifact in self._inputs:
            inherited = {k: v for k, v in artifact.manifest.items() if k in _INHERITED}
            facts = inherited | facts
        facts["run_id"] = self._context.run.run_id
        return self.store.publish(asset, origin, make, facts)


def materialized(artifact: Artifact, *, reused: bool) -> dg.MaterializeResult[Any]:
    """Reports an artifact to Dagster; its digest is the data version.

    Args:
        artifact: what readers will find in the store.
        reused: whether an earlier run made it.
    """
    return dg.MaterializeResult(
        asset_key=artifact.asset,
        metadata={**metadata.describe(artifact), "unchanged": reused},
        data_version=dg.DataVersion(artifact.digest),
    )


def observe_input(
    context: dg.AssetExecutionContext, asset: dg.AssetKey, data_version: str
) -> None:
    """Tells Dagster which version of an external asset this step has read.

    Without this the step would be linked to the version that was seen last before it
    started, and the UI would call what it made out of date. The run is tagged with it
    as well, so that the sensor knows what a run reads, whoever started it.
    """
    tags = {"dagster/data_version": data_version}
    context.instance.report_runless_asset_event(dg.AssetObservation(asset, tags=tags))
    context.get_step_execution_context().wipe_input_asset_version_info(asset)
    context.instance.add_run_tags(context.run.run_id, {READ_TAG: data_version})
