"""The parity report is written whole."""

from __future__ import annotations

import json
from pathlib import Path

from jersey_assets.export.parity import write_parity
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.data.crops import Crops


def test_the_report_is_written_with_latencies_and_figures(
    small: Checkpoint, small_bytes: bytes, crops: Crops, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(small_bytes)
    out = tmp_path / "report"
    out.mkdir()
    report = write_parity(model, small, crops, out)
    assert json.loads((out / "report.json").read_text()) == report
    assert {path.name for path in out.iterdir()} == {
        "errors.png",
        "latency.png",
        "logits.png",
        "report.html",
        "report.json",
    }
    runtimes = {row["runtime"] for row in report["latency"]}
    assert len(runtimes) == 3
    assert {row["batch_size"] for row in report["latency"]} == {1, 8, 32}
