"""Commands as people and CI type them, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def run(
    *arguments: str | Path, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / str(arguments[0])), *map(str, arguments[1:])],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def materialize(
    data: Path | str, artifacts: Path, home: Path, *config: Path, select: str = "*"
) -> subprocess.CompletedProcess[str]:
    options = [text for path in config for text in ("-c", str(path))]
    return run(
        "dagster",
        "asset",
        "materialize",
        "--select",
        select,
        "-m",
        "jersey_assets.definitions",
        *options,
        JERSEY_DATA_ROOT=str(data),
        JERSEY_ARTIFACT_ROOT=str(artifacts),
        DAGSTER_HOME=str(home),
    )
