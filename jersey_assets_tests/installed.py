"""An environment in which few packages are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

NEEDED = ("onnxruntime", "numpy", "PIL")
"""What the deployed part may import beside the standard library."""


def link_packages(folder: Path, names: Iterable[str]) -> None:
    """Puts packages of this environment into a folder, with the libraries beside them.

    Args:
        folder: an existing one, to be named in PYTHONPATH.
        names: of the packages, as they are imported.
    """
    for name in names:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        home = Path(spec.origin).parent
        (folder / name).symlink_to(home)
        for libraries in home.parent.glob(
            f"{'pillow' if name == 'PIL' else name}.libs"
        ):
            (folder / libraries.name).symlink_to(libraries)


def run_with(
    packages: Path, program: str, *arguments: object
) -> subprocess.CompletedProcess[str]:
    """Runs a program that sees the standard library and one folder of packages."""
    return subprocess.run(
        [sys.executable, "-S", "-P", "-c", program, *map(str, arguments)],
        env={"PYTHONPATH": str(packages), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
