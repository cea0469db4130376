"""Which artifact root a command works on."""

from __future__ import annotations

import argparse
import os


def artifact_root() -> str:
    """The artifact root of the environment."""
    return os.environ.get("JERSEY_ARTIFACT_ROOT") or "artifacts"


def add_artifacts(parser: argparse.ArgumentParser) -> None:
    """Lets a command be told another artifact root."""
    parser.add_argument(
        "--artifacts",
        default=artifact_root(),
        help="artifact root, JERSEY_ARTIFACT_ROOT or ./artifacts by default",
    )
