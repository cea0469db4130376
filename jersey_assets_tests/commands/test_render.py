"""`jersey-assets render`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_command_prints_what_it_planted_and_validate_finds_it(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "jersey_assets.cli"]
    out = str(tmp_path / "my faults")
    drawn = subprocess.run(
        [*command, "render", out, "--faults"],
        check=True,
        capture_output=True,
        text=True,
    )
    *lines, last = drawn.stdout.splitlines()
    assert last == (
        f"{len(lines)} faults drawn; jersey-assets validate '{out}' finds them"
    )
    ended = subprocess.run(
        [*command, "validate", out], check=True, capture_output=True, text=True
    )
    told = [line.split(": ")[::2][:2] for line in ended.stdout.splitlines()]
    for line in lines:
        assert line.split()[:2] in told
