"""The option for a command's artifact root, shared by several commands."""

from __future__ import annotations

import argparse
import os


def artifact_root() -> str:
    """Returns the artifact root from the environment."""
    return os.environ.get("JERSEY_ARTIFACT_ROOT") or "artifacts"


def add_artifacts(parser: argparse.ArgumentParser) -> None:
    """Adds the option for another artifact root to a command."""
    parser.add_argument(
        "--artifacts",
        default=artifact_root(),
        help="artifact root (default: JERSEY_ARTIFACT_ROOT or ./artifacts)",
    )
