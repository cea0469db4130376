"""Check a model against its contract."""

from __future__ import annotations

import argparse
from math import isfinite
from pathlib import Path

from jersey_assets.commands.output import print_verdicts, write_json

NEEDS = "matplotlib numpy onnx onnxruntime pillow"
CHECKPOINT_NEEDS = "pydantic torch torchvision"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("model", type=Path, help="the ONNX file")
    parser.add_argument("--checkpoint", type=Path, help="the model.ckpt it came from")
    parser.add_argument("--labels", type=Path, help="labels_mapping.json")
    parser.add_argument("--json", type=Path, help="also write the results here")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from jersey_assets.export.contract.check import check_model
    from jersey_assets.labels.file import read_labels

    # Faults of these two are reported before the model takes its minutes.
    labels = read_labels(options.labels) if options.labels else None
    checkpoint = None
    if options.checkpoint:
        from jersey_assets.training.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(options.checkpoint)
    verdicts = check_model(options.model, checkpoint, labels)
    print_verdicts(verdicts)
    passed = all(verdict.passed for verdict in verdicts)
    if options.json:
        checks = [
            {
                "name": verdict.name,
                "passed": verdict.passed,
                "message": verdict.message,
                "facts": {
                    name: value
                    if not isinstance(value, float) or isfinite(value)
                    else None
                    for name, value in verdict.facts.items()
                },
            }
            for verdict in verdicts
        ]
        write_json(options.json, {"passed": passed, "checks": checks})
    return int(not passed)
