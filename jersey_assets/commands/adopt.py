"""Make an artifact root another dataset's from now on."""

from __future__ import annotations

import argparse

from jersey_assets.commands.artifacts import add_artifacts
from jersey_assets.text import readable

NEEDS = "fsspec"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Says what the command takes."""
    parser.add_argument("dataset", help="dataset root, or its URL")
    add_artifacts(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; gives the exit status."""
    from jersey_assets.storage.owner import DatasetRoot, adopt
    from jersey_assets.storage.store import Store

    dataset = DatasetRoot(options.dataset)
    if dataset.mirror is None and not dataset.path.is_dir():
        raise ValueError(f"{options.dataset}: there is no such folder")
    adopt(Store(options.artifacts), dataset)
    print(readable(f"{options.artifacts} belongs to {dataset.identity} now"))
    return 0
