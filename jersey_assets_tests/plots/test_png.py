"""PNG bytes: they decode, fit their limit and repeat."""

from __future__ import annotations

import io
import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jersey_assets.plots.accuracy import confusion_matrix
from jersey_assets.plots.grids import prediction_grid
from jersey_assets.plots.png import PlotError, draw_png, save_png, shrink_png
from jersey_assets.plots.runtimes import error_histogram
from jersey_assets.plots.statistics import class_counts, image_sizes


def draw_noisy_grid(count: int) -> Figure:
    """As hard to compress as crops can be."""
    images = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), np.uint8)
    labels = ["23"] * count
    return prediction_grid(images, labels, labels, [0.5] * count)


def small_png(figure: Figure, max_bytes: int = 60_000) -> bytes:
    """The bytes of a figure after saving and shrinking."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        save_png(figure, path)
        return shrink_png(path.read_bytes(), max_bytes)


def test_a_saved_figure_is_a_png_without_dates_or_versions(tmp_path: Path) -> None:
    save_png(error_histogram([1e-6, 1e-5]), tmp_path / "errors.png")
    with Image.open(tmp_path / "errors.png") as image:
        assert image.format == "PNG"
        assert set(image.info) <= {"dpi"}
        assert image.width == 840


def test_the_same_data_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        figure = class_counts(["", "1"], {"train": [3, 4]})
        save_png(figure, tmp_path / name)
        (tmp_path / f"{name}.small").write_bytes(small_png(figure))
    for suffix in ("", ".small"):
        first, second = (tmp_path / f"{name}{suffix}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_a_figure_that_fits_is_shown_at_full_size() -> None:
    data = small_png(error_histogram([1e-6, 1e-5]))
    assert Image.open(io.BytesIO(data)).size == (840, 408)


def test_photographs_are_made_to_fit() -> None:
    data = small_png(draw_noisy_grid(8))
    assert len(data) <= 60_000
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.format == "PNG"


def test_a_confusion_matrix_of_43_classes_fits_at_full_size() -> None:
    matrix = np.random.default_rng(0).poisson(0.1, (43, 43)) + 20 * np.eye(
        43, dtype=int
    )
    data = small_png(confusion_matrix(list(map(str, range(43))), matrix, "test"))
    assert len(data) <= 60_000
    assert Image.open(io.BytesIO(data)).width > 1_200


@pytest.mark.parametrize("size", [(400, 3), (3, 400), (12, 12)])
def test_a_files_picture_is_never_huge(
    size: tuple[float, float], tmp_path: Path
) -> None:
    figure = Figure(figsize=size)
    pixels = np.random.default_rng(0).integers(0, 256, (1_000, 1_000, 3), np.uint8)
    figure.subplots().imshow(pixels)
    save_png(figure, tmp_path / "huge.png")
    assert (tmp_path / "huge.png").stat().st_size <= 2_000_000
    assert max(Image.open(tmp_path / "huge.png").size) <= 4_000


def test_a_figure_that_cannot_be_drawn_is_missing_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        draw_png(tmp_path / "a.png", image_sizes, [], [])
    assert list(tmp_path.iterdir()) == []
    assert "a.png could not be drawn" in caplog.text
    draw_png(tmp_path / "b.png", image_sizes, [3], heights=[4])
    assert Image.open(tmp_path / "b.png").size == (768, 672)


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        draw_png(tmp_path / "none" / "a.png", image_sizes, [3], [4])


def test_photographs_without_number_are_made_to_fit() -> None:
    assert len(small_png(draw_noisy_grid(400))) <= 60_000


def test_a_figure_that_cannot_fit_is_refused_with_its_size() -> None:
    with pytest.raises(PlotError, match="more than 500; show fewer images"):
        small_png(draw_noisy_grid(2), max_bytes=500)
