"""Draw data/sample if it is the dataset in use and is missing."""

from __future__ import annotations

import argparse
import os

from jersey_assets.commands.artifacts import artifact_root

NEEDS = "fsspec matplotlib numpy pillow"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from jersey_assets.rendering.dataset import render_dataset
    from jersey_assets.storage.owner import SAMPLE, DatasetRoot, dataset_in_use
    from jersey_assets.storage.store import Store

    given = os.environ.get("JERSEY_DATA_ROOT", "")
    used = dataset_in_use(Store(artifact_root()), given)
    if used.identity == DatasetRoot(str(SAMPLE)).identity and not SAMPLE.exists():
        print("Drawing the sample dataset")
        render_dataset(SAMPLE, 1200, 200, 200, seed=0)
    return 0
