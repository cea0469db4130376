"""Grids of crops: which pixels, captions and colours stand in them."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_hex

from jersey_assets.plots.grids import (
    augmented_crops,
    crop_grid,
    grad_cam_grid,
    prediction_grid,
)
from jersey_assets.plots.style import GREEN, RED


def test_prediction_grid_frames_mistakes_in_red() -> None:
    images = np.zeros((3, 8, 6, 3), np.uint8)
    figure = prediction_grid(images, ["23", "", "7"], ["23", "8", "7"], [0.9, 0.4, 1.0])
    cells = [axes for axes in figure.axes if axes.images]
    assert [cell.get_title() for cell in cells] == [
        "23\n90%",
        "∅ (none) → 8\n40%",
        "7\n100%",
    ]
    assert [cell.spines["left"].get_visible() for cell in cells] == [False, True, False]
    assert to_hex(cells[1].title.get_color()) == RED
    assert to_hex(cells[0].title.get_color()) == GREEN
    assert figure.get_suptitle().startswith("Predictions: 1 of 3")


def test_grad_cam_grid_puts_the_map_over_the_crop_beside_it() -> None:
    images = np.full((2, 8, 8, 3), 100, np.uint8)
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, 2, 3] = 1
    figure = grad_cam_grid(images, maps, ["7", ""], ["7", "1"], [0.9, 0.5])
    cells = [axes for axes in figure.axes if axes.images]
    shown = [np.asarray(cell.images[0].get_array()).astype(int) for cell in cells]
    assert (shown[0] == 100).all()
    assert shown[1].sum(-1).argmax() == 2 * 8 + 3
    assert cells[2].get_title() == "∅ (none) → 1\n50%"
    assert [cell.spines["left"].get_visible() for cell in cells] == [
        False,
        False,
        True,
        False,
    ]


def test_crop_grid_takes_crops_of_any_size() -> None:
    crops = [np.full((4 + i, 9, 3), 20 * i, np.uint8) for i in range(11)]
    figure = crop_grid(crops, ["", *["x" * 60] * 10])
    cells = [axes for axes in figure.axes if axes.images]
    assert [np.asarray(cell.images[0].get_array()).shape for cell in cells] == [
        crop.shape for crop in crops
    ]
    assert cells[0].get_title() == "∅ (none)"
    assert len(cells[1].get_title()) < 30


def test_augmented_crops_stand_beside_the_crop_they_are_drawn_from() -> None:
    images = np.arange(2 * 8 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 8, 4, 4, 3)
    cells = augmented_crops(images).axes
    assert [np.asarray(cell.images[0].get_array()).tolist() for cell in cells] == [
        image.tolist() for row in images for image in row
    ]
    assert [bool(cell.get_title()) for cell in cells] == 2 * [True, *[False] * 7]
