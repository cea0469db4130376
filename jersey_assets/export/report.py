"""Writes the parity report as one self-contained HTML page.

The page contains its figures and crops as data URIs and makes no requests, so it can be
mailed, stored and opened anywhere. All text is escaped.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    from jersey_assets.training.data.crops import Crops

# Crops that are shown; report.json lists every one.
_SHOWN_DISAGREEMENTS = 200
_FIGURES = {
    "errors.png": "How much the logits of the two runtimes differ, all crops",
    "logits.png": "Each logit in both runtimes; equal ones are on the diagonal",
    "latency.png": "Time per batch against batch size, both axes logarithmic",
}


def write_html(
    report: Mapping[str, Any],
    verdicts: Iterable[Verdict],
    crops: Crops,
    folder: Path,
) -> None:
    """Writes `report.html` beside the figures that it embeds.

    Args:
        report: what `comparison.compare` measured, with `latency`.
        verdicts: how it was judged.
        crops: the crops that were compared.
        folder: holds the figures, and gets the page.
    """
    page = _template().render(
        report=report,
        verdicts=list(verdicts),
        disagreements=_with_crops(report["disagreements"], crops),
        origin=_origin(report["metadata"]),
        latency=_latency_table(report["latency"]),
        figures=[
            (caption, _data_uri((folder / name).read_bytes()))
            for name, caption in _FIGURES.items()
            if (folder / name).is_file()
        ],
    )
    (folder / "report.html").write_text(page, "utf-8")


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("jersey_assets.export", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["label"] = _label
    return environment.get_template("report.html.jinja")


def _number(value: float | None) -> str:
    """Three digits, or "not a number"."""
    return "not a number" if value is None else f"{value:.3g}"


def _label(label: str | None) -> str:
    if label is None:
        return "no answer"
    return label or "∅ (none)"


def _with_crops(
    disagreements: Sequence[Mapping[str, Any]], crops: Crops
) -> list[dict[str, Any]]:
    rows = {name: row for row, name in enumerate(crops.names)}
    found = []
    for case in disagreements[:_SHOWN_DISAGREEMENTS]:
        pixels = crops.images[rows[case["image"]]].permute(1, 2, 0).numpy()
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        found.append({**case, "crop": _data_uri(stream.getvalue())})
    return found


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _origin(properties: Mapping[str, str]) -> dict[str, str]:
    """The model's metadata from its file, with the labels counted and listed."""
    said = {key.removeprefix("jersey."): value for key, value in properties.items()}
    labels = json.loads(said["labels"])
    shown = ", ".join(_label(label) for label in labels)
    return {**said, "labels": f"{len(labels)}: {shown}"}


def _latency_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line for each thread count and runtime, one cell for each batch size."""
    lines: dict[tuple[int, str], dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        cells = lines.setdefault((row["threads"], row["runtime"]), {})
        cells[row["batch_size"]] = row
    return [
        {"threads": threads, "runtime": runtime, "cells": cells}
        for (threads, runtime), cells in lines.items()
    ]
