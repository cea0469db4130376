"""List releases, or roll back to one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jersey_assets.commands.artifacts import add_artifacts
from jersey_assets.text import count, readable, shorten

if TYPE_CHECKING:
    from jersey_assets.release.releases import Withdrawals
    from jersey_assets.storage.manifest import Artifact

NEEDS = "fsspec"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("action", choices=("list", "rollback"))
    parser.add_argument("version", nargs="?", help="the release to roll back to")
    add_artifacts(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from jersey_assets.release.releases import RELEASE, roll_back, withdrawals
    from jersey_assets.storage.store import Store

    store = Store(options.artifacts)
    if options.action == "rollback":
        if options.version is None:
            raise ValueError("name the release to roll back to: rollback VERSION")
        roll_back(store, options.version)
    current = store.intact(RELEASE)
    withdrawn = withdrawals(store)
    for version in store.versions(RELEASE):
        release = store.find(RELEASE, version=version)
        mark = "*" if current is not None and version == current.version else " "
        told = "damaged: cannot be released again"
        if release is not None:
            told = _describe_release(release, withdrawn)
        print(readable(f"{mark} {version}  {told}"))
    return 0


def _describe_release(release: Artifact, withdrawn: Withdrawals) -> str:
    from jersey_assets.release.releases import weights_of
    from jersey_assets.release.significance import wilson

    report = release.json("evaluation_report.json")
    low, high = wilson(round(report["top1"] * report["images"]), report["images"])
    entry = withdrawn.get(weights_of(release))
    return (
        f"{release.manifest['created']}  dataset {shorten(release.manifest['dataset'])}"
        f"  {report['split']} {count(report['images'], 'crop')}  "
        f"top-1 {report['top1']:.1%} ({low:.1%} to {high:.1%})"
        + (f"  withdrawn {entry['withdrawn']}" if entry else "")
    )
