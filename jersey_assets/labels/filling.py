"""Draws crops for labels with few train crops (`fill_to`)."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from jersey_assets.text import shorten

if TYPE_CHECKING:
    import pandas as pd

FILE = "crops.parquet"
_SHOWN = 40


class Filling(BaseModel, frozen=True, extra="forbid", strict=True):
    """How many crops are drawn."""

    fill_to: int = Field(
        0,
        ge=0,
        le=10_000,
        description="crops that every label should have in training; if train has "
        "fewer, the rest is drawn; 0 = none",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of what is drawn")


def draw_for_train(
    filling: Filling,
    table: pd.DataFrame,
    labels: Iterable[str],
    report: Callable[[str], None],
) -> pd.DataFrame:
    """Draws the crops that are missing in train, as `draw_missing` does.

    Args:
        filling: how many, and the seed.
        table: the validated table (`split`, `label`).
        labels: those of the class mapping, all of which train has.
        report: called with progress messages.
    """
    counts = table.loc[table["split"] == "train", "label"].value_counts()
    return draw_missing(
        filling, {label: int(counts[label]) for label in labels}, report
    )


def draw_missing(
    filling: Filling, counts: Mapping[str, int], report: Callable[[str], None]
) -> pd.DataFrame:
    """Draws crops until every label has the requested number.

    Args:
        filling: how many, and the seed: the n-th crop of a label depends on nothing
            else.
        counts: train crops of each label; labels that cannot be drawn (the renderer
            knows up to two digits) are left as they are.
        report: called with progress messages.

    Returns:
        A row per crop: label, png (the file's bytes), metadata (JSON text).
    """
    import numpy as np
    import pandas as pd

    from jersey_assets.rendering.crops import render_crop
    from jersey_assets.rendering.errors import RenderError

    rows: list[tuple[str, bytes, str]] = []
    skipped: list[str] = []
    for label, count in counts.items():
        for number in range(count, filling.fill_to):
            entropy = (filling.seed, len(label), *label.encode(), number)
            try:
                crop, metadata = render_crop(label, np.random.default_rng(entropy))
            except RenderError:
                skipped.append(label)
                break
            stream = io.BytesIO()
            crop.save(stream, "PNG")
            rows.append((label, stream.getvalue(), json.dumps(metadata)))
        if rows:
            shown = shorten(json.dumps(label))
            report(f"drawing crops: {len(rows):,}, up to label {shown}")
    if skipped:
        shown = shorten(", ".join(map(json.dumps, skipped)), 400)
        report(f"the renderer cannot draw these labels: {shown}")
    return pd.DataFrame(rows, columns=["label", "png", "metadata"])


def write_drawn(drawn: pd.DataFrame, folder: Path) -> None:
    """Writes the crops and, if there are any, a picture of some."""
    from jersey_assets.crops.decode import decode_crop
    from jersey_assets.crops.prepare import resize_crop
    from jersey_assets.plots.grids import crop_grid
    from jersey_assets.plots.png import draw_png

    drawn.to_parquet(folder / FILE, index=False)
    if drawn.empty:
        return
    shown = drawn.iloc[:: -(-len(drawn) // _SHOWN)]
    crops = [resize_crop(decode_crop(data), 64) for data in shown["png"]]
    labels = [json.dumps(label) for label in shown["label"]]
    draw_png(folder / "drawn.png", crop_grid, crops, labels)
