"""Draws the contact sheets of validated and rejected annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jersey_assets.annotations.disk.confined import read_file, read_validated
from jersey_assets.annotations.disk.errors import AnnotationError
from jersey_assets.annotations.result import Validation
from jersey_assets.annotations.rules import Rules
from jersey_assets.crops.decode import ImageError, decode_crop
from jersey_assets.crops.prepare import resize_crop

MAX_CROPS = 40
_FILE = "contact_sheet.png"
_SIDE = 64
_WIDTH_INCHES = 1.85
_CAPTION_CHARACTERS = 30
"""What fits above a crop of that width; enough for train/annotations.jsonl:1234."""

_UNSHOWABLE = (
    "image.empty",
    "image.format",
    "image.truncated",
    "image.corrupt",
    "image.decode",
    "image.too_large",
)


def write_validated(found: Validation, root: Path, rules: Rules, folder: Path) -> None:
    """Writes the valid rows, and a picture of all crops with findings.

    Args:
        found: the dataset, judged.
        root: the dataset root.
        rules: limits on bytes and pixels.
        folder: an existing folder that nobody reads yet.
    """
    found.write_validated(folder)
    findings = pd.concat([found.rejected, found.warnings])
    sheet = folder / _FILE
    write_contact_sheet(root, findings, found.validated, rules, sheet)


def write_rejected(found: Validation, root: Path, rules: Rules, folder: Path) -> None:
    """Writes the rows set aside and a picture of their crops; see `write_validated`."""
    found.write_rejected(folder)
    sheet = folder / _FILE
    write_contact_sheet(root, found.rejected, found.validated, rules, sheet)


def write_contact_sheet(
    root: Path, findings: pd.DataFrame, kept: pd.DataFrame, rules: Rules, path: Path
) -> None:
    """Draws crops that have findings, with file, line, label and reason.

    Draws the first crops of each reason, as many of each as fit.

    Args:
        root: the dataset root.
        findings: a table of rows set aside, or of warnings.
        kept: the validated table; a crop of it that has changed since is not drawn.
        rules: limits on bytes and pixels.
        path: the PNG to write; not written if none of the crops can be shown.
    """
    from jersey_assets.plots.grids import crop_grid
    from jersey_assets.plots.png import draw_png

    crops, captions = [], []
    shown = ~findings["reason"].isin(_UNSHOWABLE) & findings["image"].notna()
    findings = findings[shown]
    share = -(-MAX_CROPS // max(1, findings["reason"].nunique()))
    first = findings.groupby("reason", sort=False).head(share)
    place = ["file", "line"]
    first = first.drop_duplicates(place)
    known = kept.loc[kept["line"].isin(first["line"]), [*place, "image_sha256"]]
    for row in first.merge(known, "left", place).itertuples():
        crop = _read_crop(root, row, rules)
        if crop is not None:
            crops.append(crop)
            captions.append(_caption(row))
        if len(crops) == MAX_CROPS:
            break
    if crops:
        draw_png(path, crop_grid, crops, captions, width=_WIDTH_INCHES)


def _caption(row: Any) -> str:
    """Return where the row is, by the end of its path, and what was found in it."""
    where = f"{row.file}:{row.line}" if row.line else str(row.file)
    if len(where) > _CAPTION_CHARACTERS:
        where = f"…{where[1 - _CAPTION_CHARACTERS :]}"
    label = "" if pd.isna(row.label) else json.dumps(row.label, ensure_ascii=False)
    # The label is cut, since the reason must stay whole.
    room = _CAPTION_CHARACTERS - len(row.reason) - 2
    label = label if len(label) <= room else f"{label[: room - 1]}…"
    return f"{where}\n{label}  {row.reason}".replace("\n  ", "\n")


def _read_crop(
    root: Path, row: Any, rules: Rules
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    """Return the crop, or None if it is the reason for setting the row aside."""
    limit = rules.max_image_bytes
    try:
        if pd.isna(row.image_sha256):
            data = read_file(root, row.image, limit)
        else:
            data = read_validated(root, row.image, row.image_sha256, limit)
        return resize_crop(decode_crop(data, rules.max_pixels), _SIDE)
    except (AnnotationError, ImageError):
        return None
