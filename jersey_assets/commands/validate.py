"""Name every fault of a dataset."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jersey_assets.commands.output import print_verdicts, progress, write_json
from jersey_assets.text import count, readable

NEEDS = "msgspec numpy pandas pandera pillow pyarrow"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Says what the command takes."""
    parser.add_argument("root", type=Path, help="dataset root")
    parser.add_argument("--json", type=Path, help="write the findings here as well")
    parser.add_argument(
        "--conflict-policy",
        choices=("reject", "prefer_number"),
        default="reject",
        help="what to do with an image listed with two labels",
    )
    parser.add_argument(
        "--label-pattern", default="[0-9]{0,2}", help="regular expression of a label"
    )
    parser.add_argument(
        "--rejected-budget",
        type=float,
        default=0.10,
        help="share of the rows that may be set aside",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; gives the exit status."""
    import pandas as pd

    from jersey_assets.annotations.checks import verdicts
    from jersey_assets.annotations.result import place
    from jersey_assets.annotations.rules import Rules
    from jersey_assets.annotations.validate import validate

    rules = Rules(
        label_pattern=options.label_pattern,
        conflict_policy=options.conflict_policy,
        rejected_budget=options.rejected_budget,
    )
    found = validate(options.root, rules, progress)
    findings = pd.concat([found.rejected, found.warnings], ignore_index=True)
    for row in findings.itertuples():
        where = place(str(row.file), int(str(row.line)))
        print(readable(f"{where}: {row.severity}: {row.reason}: {row.message}"))
    print_verdicts(verdicts(found, rules))
    summary = found.summary
    print(
        f"{summary['outcome']}: {count(summary['rows'], 'row')} read, "
        f"{summary['kept']:,} kept, {summary['rejected']:,} set aside, "
        f"{count(summary['duplicates'], 'duplicate')} merged"
    )
    if options.json:
        columns = ["file", "line", "reason", "severity", "message"]
        keys = ("rows", "kept", "rejected", "duplicates", "outcome")
        content = {key: summary[key] for key in keys}
        content["findings"] = json.loads(findings[columns].to_json(orient="records"))
        write_json(options.json, content)
    return int(summary["outcome"] == "reject")
