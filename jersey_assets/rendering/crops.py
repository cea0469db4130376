"""Draws one crop: a printed jersey on a turning body, seen by a broadcast camera.

The cloth of `jersey.py` is wrapped around an upright cylinder, creased, tilted and lit;
the background is beside the body, and arms pass in front. If the label is `""`, the
number is missing, turned away, or behind somebody. `camera.py` does the rest. Lengths
are in number heights unless they are in px.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from jersey_assets.rendering.camera import SUPERSAMPLING, Pixels, photograph
from jersey_assets.rendering.errors import RenderError
from jersey_assets.rendering.jersey import (
    CLOTH_SIZE,
    NUMBER_HEIGHT,
    Cloth,
    choose_kit,
    paint_skin,
    print_jersey,
)

HIDDEN_VIEWS = ("plain", "turned", "occluded")
"""Why a crop shows no readable number."""

# RGB, 0..1: wood, painted court, crowd, dark hall, boards, another player's shirt.
_BACKDROPS = np.array(
    (
        (0.80, 0.60, 0.40),
        (0.66, 0.44, 0.28),
        (0.24, 0.30, 0.48),
        (0.32, 0.27, 0.27),
        (0.10, 0.09, 0.12),
        (0.52, 0.50, 0.54),
        (0.86, 0.85, 0.86),
        (0.62, 0.18, 0.20),
    )
)


@dataclass(frozen=True)
class View:
    """Where the camera is.

    Attributes:
        width, height: of the crop, px.
        scale: height of the number in the crop, px.
        roll: rotation in the picture, radians.
        turn: by how much the player has turned from the camera, radians.
        radius: of the body.
        center: the point of the picture plane in the middle of the crop.
    """

    width: int
    height: int
    scale: float
    roll: float
    turn: float
    radius: float
    center: tuple[float, float]


def render_crop(
    label: str, rng: np.random.Generator
) -> tuple[Image.Image, dict[str, str]]:
    """Draws a crop of a jersey that shows `label`.

    Args:
        label: up to two digits; `""` for a jersey without a readable number.
        rng: the source of all randomness: the same state draws the same pixels.

    Returns:
        The crop, RGB, some 20 to 60 px a side, and its metadata: `jersey_color`,
        `view` and, unless the view is `plain`, `number_color`, `border_color`, `font`.

    Raises:
        RenderError: the label has another form, or a font is missing.
    """
    if not re.fullmatch("[0-9]{0,2}", label):
        raise RenderError(
            f"label {label!r} cannot be drawn; use up to two digits 0-9, "
            'or "" for a jersey without a readable number'
        )
    kit = choose_kit(rng)
    view_name = "front" if label else HIDDEN_VIEWS[rng.integers(len(HIDDEN_VIEWS))]
    printed = label
    if view_name in ("turned", "occluded"):
        printed = str(rng.integers(0, 100))
    cloth = print_jersey(printed, kit, rng)
    view = _choose_view(cloth, view_name, rng)
    image = photograph(_draw_scene(cloth, view, view_name, rng), rng)
    metadata = {"jersey_color": kit.jersey, "view": view_name}
    if view_name != "plain":
        metadata |= {
            "number_color": kit.number,
            "border_color": kit.border,
            "font": kit.font,
        }
    return image, metadata


def _choose_view(cloth: Cloth, name: str, rng: np.random.Generator) -> View:
    scale = rng.uniform(17, 33)
    roll = np.radians(np.clip(rng.normal(0, 9), -25, 25))
    radius = rng.uniform(1.1, 1.9)
    width = cloth.number_width or rng.uniform(0.5, 1.2)
    turn = np.radians(rng.uniform(-24, 24))
    if name == "turned":
        # Not even the near edge of the number faces the camera.
        near_edge = np.radians(rng.uniform(68, 76))
        turn = rng.choice((-1, 1)) * (near_edge + width / 2 / radius)
        width = rng.uniform(0.5, 1.0)
    seen_at = np.clip(turn, -1.2, 1.2)
    # One crop in three is cut loosely, and not around the number's middle.
    slack = rng.uniform(0, 0.7, 2) * (rng.random() < 0.3)
    offset = rng.normal(0, 0.05, 2) + slack / 2 * rng.uniform(-0.8, 0.8, 2)
    center = float(radius * np.sin(seen_at) + offset[0]), float(offset[1])
    seen_width = width * np.cos(turn) if name != "turned" else width
    wide = (
        seen_width * np.cos(roll)
        + abs(np.sin(roll))
        + rng.uniform(0.1, 0.35)
        + slack[0]
    )
    high = (
        np.cos(roll) + seen_width * abs(np.sin(roll)) + rng.uniform(0.1, 0.4) + slack[1]
    )
    return View(
        width=int(np.ceil(wide * scale)),
        height=int(np.ceil(high * scale)),
        scale=scale,
        roll=float(roll),
        turn=float(turn),
        radius=radius,
        center=center,
    )


def _draw_scene(
    cloth: Cloth, view: View, name: str, rng: np.random.Generator
) -> Pixels:
    """The crop's scene, `SUPERSAMPLING` times larger than the crop."""
    x, y = _picture_plane(view, rng)
    folds_x, folds_y = _folds(x, y, rng)
    # On the body: how far around it, then along the cloth.
    across = (x / view.radius).clip(-0.999, 0.999)
    angle = np.arcsin(across)
    u = view.radius * (angle - view.turn) + 0.06 * folds_x
    v = y + 0.06 * folds_y
    light_x, light_y = rng.choice((-1, 1), 2) * rng.uniform(0.08, 0.34, 2)
    shade = 1 + light_x * folds_x + light_y * folds_y
    shade *= 0.55 + 0.45 * np.cos(angle - rng.uniform(-0.6, 0.6))
    scene = _sample(cloth.pixels, u, v) * shade.clip(0.25, 1.5)[..., None]
    outside = _smoothstep((abs(x / view.radius) - 0.985) / 0.03)[..., None]
    if outside.any():
        scene = scene * (1 - outside) + _background(x, y, rng) * outside
    return _put_arm_in_front(scene, name, rng)


def _picture_plane(view: View, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Where in the picture plane each scene pixel looks: rolled, tilted, sheared."""
    step = 1 / (view.scale * SUPERSAMPLING)
    columns, rows = view.width * SUPERSAMPLING, view.height * SUPERSAMPLING
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    x, y = (x - columns / 2) * step, (y - rows / 2) * step
    tilt_x, tilt_y = rng.normal(0, 0.07, 2)
    depth = 1 + tilt_x * x + tilt_y * y
    x, y = x / depth, y / depth
    x = x + rng.normal(0, 0.06) * y
    cos, sin = np.cos(view.roll), np.sin(view.roll)
    return (
        cos * x + sin * y + view.center[0],
        cos * y - sin * x + view.center[1],
    )


def _folds(x: Pixels, y: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Slopes of the creased cloth along x and y, each about -1..1."""
    slope_x, slope_y = np.zeros_like(x), np.zeros_like(y)
    for _ in range(4):
        direction = rng.uniform(0, np.pi)
        frequency = rng.uniform(2, 7)
        bend = rng.normal(0, 0.6) * np.sin(rng.uniform(1, 3) * (x + y))
        along = np.cos(direction) * x + np.sin(direction) * y
        # A power of the wave: narrow creases between wide, smooth parts.
        wave = np.cos(frequency * along + bend + rng.uniform(0, 2 * np.pi))
        crease = rng.uniform(0.2, 0.8) * np.sign(wave) * abs(wave) ** 2.5
        slope_x += np.cos(direction) * crease
        slope_y += np.sin(direction) * crease
    return slope_x, slope_y


def _sample(pixels: Pixels, u: Pixels, v: Pixels) -> Pixels:
    """Reads the cloth at (u, v), number heights from its middle; bilinear."""
    column = (u * NUMBER_HEIGHT + CLOTH_SIZE / 2).clip(0, CLOTH_SIZE - 1.001)
    row = (v * NUMBER_HEIGHT + CLOTH_SIZE / 2).clip(0, CLOTH_SIZE - 1.001)
    left, top = column.astype(np.intp), row.astype(np.intp)
    dx, dy = (column - left)[..., None], (row - top)[..., None]
    upper: Pixels = pixels[top, left] * (1 - dx) + pixels[top, left + 1] * dx
    lower: Pixels = pixels[top + 1, left] * (1 - dx) + pixels[top + 1, left + 1] * dx
    return upper * (1 - dy) + lower * dy


def _background(x: Pixels, y: Pixels, rng: np.random.Generator) -> Pixels:
    """Court, crowd or another player, far out of focus."""
    first, second = _BACKDROPS[rng.choice(len(_BACKDROPS), 2)] * rng.uniform(0.6, 1.1)
    phase, bend = rng.uniform(0, 2 * np.pi), rng.uniform(1, 5)
    mix = 0.5 + 0.5 * np.sin(bend * (y + 0.4 * x) + phase)[..., None]
    backdrop: Pixels = mix * first + (1 - mix) * second
    return backdrop


def _put_arm_in_front(scene: Pixels, name: str, rng: np.random.Generator) -> Pixels:
    """Lays an arm over the scene: across the number if that is to be hidden."""
    height, width, _ = scene.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = (x - width / 2) / height, (y - height / 2) / height
    direction = rng.uniform(0, 2 * np.pi)
    if name == "occluded":
        half, offset = rng.uniform(0.36, 0.44), rng.normal(0, 0.03)
    elif rng.random() < 0.25:
        # Past a corner of the crop: it may touch the number, but never hide it.
        half = rng.uniform(0.1, 0.3)
        reach = abs(np.cos(direction)) * width / height + abs(np.sin(direction))
        offset = reach / 2 + half - rng.uniform(0.04, 0.14)
    else:
        return scene
    across = np.cos(direction) * x + np.sin(direction) * y - offset
    along = np.cos(direction) * y - np.sin(direction) * x
    half = half * (1 + rng.uniform(-0.12, 0.12) * along)
    cover = _smoothstep((half - abs(across)) / 0.04)[..., None]
    # Lit from one side: round, not a flat band.
    lit = (across / half + rng.uniform(-0.7, 0.7)) / 1.3
    round_ = 0.35 + 0.65 * np.sqrt((1 - lit**2).clip(0, 1))
    tone = np.array(paint_skin(rng)) / 255 * rng.uniform(0.7, 1.1)
    arm: Pixels = round_[..., None] * tone
    return scene * (1 - cover) + arm * cover


def _smoothstep(t: Pixels) -> Pixels:
    t = t.clip(0, 1)
    smooth: Pixels = t * t * (3 - 2 * t)
    return smooth
