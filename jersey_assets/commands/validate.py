"""List every fault of a dataset."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from pathlib import Path
from typing import get_args

from jersey_assets.commands.output import print_verdicts, progress, write_json
from jersey_assets.text import count, readable

NEEDS = "msgspec numpy pandas pandera pillow pyarrow pydantic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("root", type=Path, help="dataset root")
    parser.add_argument("--json", type=Path, help="also write the findings here")
    with suppress(ImportError):  # missing packages are reported before it runs
        from jersey_assets.annotations.rules import OFFERED, Rules

        for name in OFFERED:
            rule = Rules.model_fields[name]
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                type=type(rule.default),
                default=rule.default,
                choices=get_args(rule.annotation) or None,
                help=f"{rule.description} (default: %(default)s)",
            )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    import pandas as pd
    from pydantic import ValidationError

    from jersey_assets.annotations.checks import verdicts
    from jersey_assets.annotations.result import place
    from jersey_assets.annotations.rules import OFFERED, Rules
    from jersey_assets.annotations.validate import validate

    try:
        rules = Rules(**{name: getattr(options, name) for name in OFFERED})
    except ValidationError as error:
        wrong = error.errors()[0]
        option = str(wrong["loc"][0]).replace("_", "-")
        raise ValueError(f"--{option}: {wrong['msg']}") from error
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
