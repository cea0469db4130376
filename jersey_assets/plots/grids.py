"""Draws grids of crops: contact sheets, augmented crops, predictions, Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from jersey_assets.plots.style import (
    GREEN,
    INK,
    MUTED,
    RED,
    fit_text,
    in_our_style,
    put_title,
    show_label,
)

_HEAT = colormaps["inferno"]
_COLUMNS = 8
_CAPTION_CHARACTERS = 16.5
"""Characters of a caption per inch."""


@in_our_style
def crop_grid(
    images: Sequence[np.ndarray[Any, np.dtype[np.uint8]]],
    captions: Sequence[str],
    width: float = 1.15,
) -> Figure:
    """Draws a contact sheet.

    Args:
        images: uint8 [H, W, 3], of any sizes.
        captions: one or two lines each, cut to what fits; `""` is shown as a label.
        width: of a crop with its caption, in inches; some 16 characters fit in one.
    """
    return _grid(
        images, [caption or show_label("") for caption in captions], width=width
    )


@in_our_style
def augmented_crops(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Figure:
    """Draws unchanged crops, the first of each row, beside augmented ones.

    Args:
        images: uint8 [rows, columns, H, W, 3].
    """
    rows, columns = images.shape[:2]
    captions = [
        ("original" if i == 0 else "") for _ in range(rows) for i in range(columns)
    ]
    return _grid(
        [image for row in images for image in row],
        captions,
        title="Original crops, and augmented versions of them",
    )


@in_our_style
def prediction_grid(
    images: np.ndarray[Any, np.dtype[np.uint8]],
    true_labels: Sequence[str],
    predicted_labels: Sequence[str],
    confidences: Sequence[float],
) -> Figure:
    """Draws crops with their predictions; mistakes have a red frame.

    Args:
        images: uint8 [n, H, W, 3].
        true_labels: what the annotation says.
        predicted_labels: what the model read.
        confidences: the model's, in 0..1.
    """
    captions, colors = _read(true_labels, predicted_labels, confidences)
    wrong = colors.count(RED)
    return _grid(
        list(images),
        captions,
        colors,
        f"Predictions: {wrong} of {len(colors)} shown are wrong (red: true → read)",
    )


@in_our_style
def grad_cam_grid(
    images: np.ndarray[Any, np.dtype[np.uint8]],
    maps: np.ndarray[Any, np.dtype[np.float32]],
    true_labels: Sequence[str],
    predicted_labels: Sequence[str],
    confidences: Sequence[float],
) -> Figure:
    """Draws crops, and beside each one its Grad-CAM map.

    Args:
        images: uint8 [n, H, W, 3].
        maps: [n, H, W] in 0..1.
        true_labels: what the annotation says.
        predicted_labels: what the model read.
        confidences: the model's, in 0..1.
    """
    heat = _HEAT(maps)[..., :3] * 255
    # Over the crop in grey: its own colours would look like heat.
    greys = images.mean(-1, keepdims=True)
    blended = (0.5 * greys + 0.5 * heat).round().astype(np.uint8)
    captions, colors = _read(true_labels, predicted_labels, confidences)
    pairs = zip(images, blended, strict=True)
    return _grid(
        [image for pair in pairs for image in pair],
        [text for caption in captions for text in (caption, "Grad-CAM\n")],
        [color for each in colors for color in (each, MUTED)],
        "Grad-CAM: what supports the predicted label is bright",
    )


def _read(
    true_labels: Sequence[str],
    predicted_labels: Sequence[str],
    confidences: Sequence[float],
) -> tuple[list[str], list[str]]:
    """Makes captions of predictions, and their colours."""
    captions, colors = [], []
    rows = zip(true_labels, predicted_labels, confidences, strict=True)
    for true, predicted, confidence in rows:
        right = true == predicted
        read = "" if right else f" → {show_label(predicted)}"
        captions.append(f"{show_label(true)}{read}\n{confidence:.0%}")
        colors.append(GREEN if right else RED)
    return captions, colors


def _grid(
    images: Sequence[np.ndarray[Any, np.dtype[np.uint8]]],
    captions: Sequence[str],
    colors: Sequence[str] | None = None,
    title: str | None = None,
    width: float = 1.15,
) -> Figure:
    most = int(_COLUMNS * 1.15 / width)
    columns = min(max(len(images), 5), most)
    rows = max(-(-len(images) // columns), 1)
    figure = Figure(figsize=(width * columns, 1.5 * rows + 0.4))
    if title:
        put_title(figure, title)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for cell in cells:
        cell.grid(False)
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_visible(False)
    shown = zip(cells, images, captions, colors or [INK] * len(images), strict=False)
    for cell, image, caption, color in shown:
        # Unsmoothed pixels; smoothed ones take twice the bytes.
        cell.imshow(image, interpolation="nearest")
        fitting = int(width * _CAPTION_CHARACTERS)
        lines = [fit_text(line, fitting) for line in caption.split("\n")]
        cell.set_title("\n".join(lines), color=color, fontsize=8, loc="center", pad=3)
        if color == RED:
            cell.spines[:].set(visible=True, color=RED, linewidth=2.5)
    return figure
