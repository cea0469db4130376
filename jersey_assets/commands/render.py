"""Draw a sample dataset."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from jersey_assets.text import count, readable

NEEDS = "matplotlib numpy pillow"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("out", type=Path, help="folder to create")
    parser.add_argument("--train", type=int, default=1200, help="number of train crops")
    parser.add_argument("--valid", type=int, default=200, help="number of valid crops")
    parser.add_argument("--test", type=int, default=200, help="number of test crops")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other crops")
    parser.add_argument(
        "--faults",
        action="store_true",
        help="draw a small dataset with one fault of each kind, to try validate on",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from jersey_assets.rendering.dataset import render_dataset

    if options.faults:
        return _render_faults(options.out, options.seed)
    render_dataset(
        options.out, options.train, options.valid, options.test, options.seed
    )
    total = options.train + options.valid + options.test
    print(readable(f"{options.out}: {count(total, 'crop')} drawn"))
    return 0


def _render_faults(out: Path, seed: int) -> int:
    from jersey_assets.rendering.faults import render_faults

    planted = render_faults(out, seed)
    for fault in planted:
        where = f"{fault.file}:{fault.line}"
        print(f"{where:<24} {fault.reason:<19} {fault.what}")
    command = shlex.join(["jersey-assets", "validate", str(out)])
    print(readable(f"{count(len(planted), 'fault')} drawn; {command} finds them"))
    return 0
