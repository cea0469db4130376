"""Single crops: what they show, and that chance comes from the generator alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from jersey_assets.rendering.block import block_digit, choose_type
from jersey_assets.rendering.crops import HIDDEN_VIEWS, render_crop
from jersey_assets.rendering.errors import RenderError
from jersey_assets.rendering.fonts import FONTS, load_font
from jersey_assets.rendering.jersey import COLORS, KITS


def render(label: str, seed: int) -> tuple[Image.Image, dict[str, str]]:
    return render_crop(label, np.random.default_rng(seed))


def test_crops_have_the_size_of_broadcast_crops() -> None:
    sizes = np.array(
        [render(label, seed)[0].size for label in ("7", "23") for seed in range(60)]
    )
    assert sizes.min() >= 12
    assert sizes.max() <= 80
    width, height = np.median(sizes, axis=0)
    assert 22 <= width <= 36
    assert 32 <= height <= 46


def test_the_same_generator_state_draws_the_same_crop() -> None:
    for label in ("", "0", "00", "42"):
        first, again, other = render(label, 1), render(label, 1), render(label, 2)
        assert first[0].tobytes() == again[0].tobytes()
        assert first[1] == again[1]
        assert first[0].tobytes() != other[0].tobytes()


def test_metadata_names_what_was_drawn() -> None:
    _, metadata = render("23", 3)
    assert metadata["view"] == "front"
    parts = ("jersey_color", "number_color", "border_color", "font")
    assert tuple(metadata[part] for part in parts) in KITS


def test_a_crop_without_a_readable_number_is_drawn_in_each_hidden_view() -> None:
    drawn = [render("", seed)[1] for seed in range(60)]
    assert {metadata["view"] for metadata in drawn} == set(HIDDEN_VIEWS)
    for metadata in drawn:
        assert ("number_color" in metadata) == (metadata["view"] != "plain")


def test_each_number_stands_out_from_its_jersey() -> None:
    for jersey, number, *_ in KITS:
        distance = np.subtract(COLORS[jersey], COLORS[number])
        assert np.linalg.norm(distance) > 100, (jersey, number)


@pytest.mark.parametrize("label", ["123", "a", " 1", "-1", "٣", "1\n"])
def test_a_label_that_no_jersey_carries_is_refused(label: str) -> None:
    with pytest.raises(RenderError, match="use up to two digits"):
        render(label, 0)


def test_all_fonts_are_installed_and_draw_ten_different_digits() -> None:
    for name in FONTS:
        font = load_font(name)
        digits = {bytes(font.getmask(digit)) for digit in "0123456789"}
        assert len(digits) == 10, name


def test_block_digits_of_all_types_differ_and_fill_their_height() -> None:
    for seed in range(40):
        kind = choose_type(np.random.default_rng(seed))
        digits = [np.asarray(block_digit(digit, kind, 60)) for digit in "0123456789"]
        assert len({(d.shape, d.tobytes()) for d in digits}) == 10
        for digit in digits:
            edges = digit[0], digit[-1], digit[:, 0], digit[:, -1]
            assert all(edge.any() for edge in edges), kind


@pytest.mark.parametrize(("digit", "holes"), [("0", 1), ("4", 1), ("8", 2), ("2", 0)])
def test_block_digits_are_as_open_as_the_digits_are(digit: str, holes: int) -> None:
    for seed in range(40):
        kind = choose_type(np.random.default_rng(seed))
        mask = ImageOps.expand(block_digit(digit, kind, 60), 1)
        parts = 0
        while 0 in (pixels := np.asarray(mask)):
            row, column = np.argwhere(pixels == 0)[0].tolist()
            ImageDraw.floodfill(mask, (column, row), 255)
            parts += 1
        assert parts - 1 == holes, kind


def test_rendering_imports_neither_matplotlib_nor_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from jersey_assets.rendering.crops import render_crop\n"
        "render_crop('7', np.random.default_rng(0))\n"
        "print(sorted({'matplotlib', 'torch', 'pandas', 'dagster'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
