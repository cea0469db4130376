"""Read the number on crops."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jersey_assets.text import readable, shorten

NEEDS = "numpy onnxruntime pillow"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("model", type=Path, help="the ONNX file")
    parser.add_argument("images", type=Path, nargs="+", help="crops")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from jersey_assets.reader.predictor import Predictor, Unread

    failed = False
    for answer in Predictor(options.model).predict(options.images):
        image = str(answer.image)
        if isinstance(answer, Unread):
            failed = True
            print(readable(f"{image}: {answer.reason}"), file=sys.stderr)
        else:
            label = readable(shorten(answer.label)) or "(none)"
            print(f"{readable(image)}\t{label}\t{answer.confidence:.3f}")
    return int(failed)
