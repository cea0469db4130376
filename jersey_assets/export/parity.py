"""Writes the parity report of PyTorch and onnxruntime: JSON, figures and HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jersey_assets.export.comparison import compare
from jersey_assets.export.latency import measure_latency
from jersey_assets.export.parity_checks import verdicts
from jersey_assets.export.report import write_html
from jersey_assets.storage.manifest import canonical_json

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint
    from jersey_assets.training.data.crops import Crops


def write_parity(
    model: Path, checkpoint: Checkpoint, crops: Crops, folder: Path
) -> dict[str, Any]:
    """Writes `report.json`, its figures and `report.html`; returns the report.

    Raises:
        ModelError: see `compare`.
    """
    from jersey_assets.plots.png import draw_png
    from jersey_assets.plots.runtimes import (
        error_histogram,
        latency_curves,
        logits_scatter,
    )

    found = compare(model, checkpoint, crops)
    latency = measure_latency(model.read_bytes(), checkpoint)
    report = {**found.report, "latency": latency}
    (folder / "report.json").write_bytes(canonical_json(report))
    if np.isfinite(found.onnx_logits).all() and np.isfinite(found.torch_logits).all():
        errors = np.abs(found.onnx_logits - found.torch_logits)
        draw_png(folder / "errors.png", error_histogram, errors)
        logits = found.torch_logits, found.onnx_logits
        draw_png(folder / "logits.png", logits_scatter, *logits)
    draw_png(folder / "latency.png", latency_curves, latency)
    write_html(report, verdicts(report), crops, folder)
    return report
