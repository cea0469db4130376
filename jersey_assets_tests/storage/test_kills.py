"""Readers under kills and failing disks: `make bench-store`, with fewer kills."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_readers_find_whole_versions_whatever_becomes_of_writers() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.store", "--kills", "20"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = {
        what: int(number.replace(",", ""))
        for number, what in re.findall(r"^([\d,]+) (.+)$", ended.stdout, re.M)
    }
    assert found["kills"] >= 20
    assert found["reads"] > 0
    assert found["failed calls"] > 100
    for what in ("torn", "lost", "spurious incomplete", "left behind"):
        assert found[what] == 0
