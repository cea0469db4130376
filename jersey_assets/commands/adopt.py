"""Hand an artifact root over to another dataset."""

from __future__ import annotations

import argparse

from jersey_assets.commands.artifacts import add_artifacts
from jersey_assets.text import readable

NEEDS = "fsspec"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("dataset", help="dataset root, or its URL")
    add_artifacts(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from jersey_assets.storage.owner import DatasetRoot, adopt
    from jersey_assets.storage.store import Store

    dataset = DatasetRoot(options.dataset)
    if dataset.mirror is None and not dataset.path.is_dir():
        raise ValueError(f"{options.dataset}: this folder does not exist")
    adopt(Store(options.artifacts), dataset)
    print(readable(f"{options.artifacts} now belongs to {dataset.identity}"))
    return 0
