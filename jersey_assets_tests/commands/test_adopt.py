"""`jersey-assets adopt`."""

from __future__ import annotations

import shutil
from pathlib import Path

from jersey_assets_tests.commands.processes import materialize, run


def test_another_dataset_is_refused_and_the_artifacts_can_be_handed_over(
    whole_run, rendered: Path, tmp_path: Path, home: Path
) -> None:
    artifacts = Path(shutil.copytree(whole_run[1], tmp_path / "artifacts"))
    other = Path(shutil.copytree(rendered, tmp_path / "another one"))
    select = "validated_annotations,rejected_annotations"
    loggers = tmp_path / "console.yaml"
    loggers.write_text("loggers: {console: {}}")
    refused = materialize(other, artifacts, home, loggers, select=select)
    assert refused.returncode == 1
    assert f"hand this one over: jersey-assets adopt '{other}'" in refused.stdout
    command = ("jersey-assets", "adopt")
    missing = run(*command, tmp_path / "none", "--artifacts", artifacts)
    assert missing.returncode == 2
    adopted = run(*command, other, JERSEY_ARTIFACT_ROOT=str(artifacts))
    assert adopted.returncode == 0
    assert f"now belongs to {other}" in adopted.stdout
    assert materialize(other, artifacts, home, loggers, select=select).returncode == 0
