"""A picture of the crops that were set aside, for those who would rather look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from jersey_assets.annotations.files import AnnotationError, read_file
from jersey_assets.annotations.images import ImageError, decode_crop, resize_crop

MAX_CROPS = 40
_SIDE = 64


def write_contact_sheet(root: Path, rejected: pd.DataFrame, path: Path) -> None:
    """Draws the first crops that were set aside, each with split, line and reason.

    Args:
        root: the dataset root.
        rejected: the table of rows set aside.
        path: the PNG to write; not written where no crop of them can be shown.
    """
    from jersey_assets.plots.figures import crop_grid
    from jersey_assets.plots.png import save_png

    crops, captions = [], []
    for row in rejected.drop_duplicates(["file", "line"]).itertuples():
        crop = _read_crop(root, str(row.image))
        if crop is not None:
            crops.append(crop)
            captions.append(f"{row.split}:{row.line} {row.label!r}\n{row.reason}")
        if len(crops) == MAX_CROPS:
            break
    if crops:
        save_png(crop_grid(crops, captions), path)


def _read_crop(
    root: Path, image: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    """The crop, or None where it is the reason for setting the row aside."""
    try:
        return resize_crop(decode_crop(read_file(root, image)), _SIDE)
    except (AnnotationError, ImageError):
        return None
