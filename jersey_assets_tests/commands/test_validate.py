"""`jersey-assets validate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from jersey_assets_tests.commands.processes import run


def test_validate_names_faults_by_file_and_line(rendered: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    path = data / "train" / "annotations.jsonl"
    lines = path.read_text().splitlines()
    lines[4] = '{"image": "crops/none.jpg", "suffix": "23"}'
    lines[6] = '{"image": "crops/0001.jpg", "suffix": 23}'
    path.write_text("\n".join(lines) + "\n")
    ended = run("jersey-assets", "validate", data, "--json", tmp_path / "found.json")
    assert ended.returncode == 0
    assert "train/annotations.jsonl:5: error: path.missing" in ended.stdout
    assert "train/annotations.jsonl:7: error: row.wrong_type" in ended.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["outcome"] == "quarantine"
    assert found["rows"] == found["kept"] + 2
    assert {"file", "line", "reason", "severity", "message"} == set(
        found["findings"][0]
    )


def test_validate_refuses_a_dataset_with_1_and_a_missing_one_with_2(
    rendered: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    shutil.rmtree(data / "valid")
    assert run("jersey-assets", "validate", data).returncode == 1
    missing = run("jersey-assets", "validate", tmp_path / "none")
    assert missing.returncode == 2
    assert "does not exist" in missing.stderr
    assert "Traceback" not in missing.stderr
