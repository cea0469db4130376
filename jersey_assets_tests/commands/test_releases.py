"""`jersey-assets releases`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from jersey_assets_tests.commands.processes import run


def test_releases_lists_and_goes_back(
    whole_run, released: Path, tmp_path: Path
) -> None:
    artifacts = Path(shutil.copytree(whole_run[1], tmp_path / "artifacts"))
    listed = run("jersey-assets", "releases", "list", "--artifacts", artifacts)
    assert listed.returncode == 0
    report = json.loads((released / "evaluation_report.json").read_text())
    assert re.fullmatch(
        rf"\* {released.name}  20\S+  dataset rendered  test 40 crops  "
        rf"top-1 {report['top1']:.1%} \(\d+\.\d% to \d+\.\d%\)\n",
        listed.stdout,
    )
    command = ("jersey-assets", "releases", "rollback")
    back = run(*command, released.name, "--artifacts", artifacts)
    assert back.returncode == 0
    assert f"* {released.name}" in back.stdout
    refused = run(*command, "none", "--artifacts", artifacts)
    assert refused.returncode == 2
    assert released.name in refused.stderr
