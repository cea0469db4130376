"""Prints verdicts and progress, and writes JSON, for all commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from jersey_assets.text import readable
from jersey_assets.verdict import Verdict


def print_verdicts(verdicts: Iterable[Verdict]) -> None:
    """Prints a line for each verdict."""
    for verdict in verdicts:
        word = "pass" if verdict.passed else "FAIL"
        if not verdict.passed and verdict.severity == "warning":
            word = "warn"
        # Text from a hostile file must not move the cursor to fake other lines.
        print(readable(f"{word}  {verdict.name}: {verdict.message}"))


def progress(line: str) -> None:
    """Prints a command's progress on standard error."""
    print(readable(line), file=sys.stderr, flush=True)


def write_json(path: Path, content: object) -> None:
    """Writes results for machines."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
