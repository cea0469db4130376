"""How commands tell what they found."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from jersey_assets.text import readable
from jersey_assets.verdict import Verdict


def print_verdicts(verdicts: Iterable[Verdict]) -> None:
    """A line for each verdict."""
    for verdict in verdicts:
        word = "pass" if verdict.passed else "FAIL"
        if not verdict.passed and verdict.severity == "warning":
            word = "warn"
        # A hostile file's own words must not move the cursor to write other lines.
        print(readable(f"{word}  {verdict.name}: {verdict.message}"))


def progress(line: str) -> None:
    """Says on standard error how far a command is."""
    print(readable(line), file=sys.stderr, flush=True)


def write_json(path: Path, content: object) -> None:
    """Writes results for machines."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
