"""Draws which parts of the package import which, from the code as it stands.

    python docs/draw_house.py docs/house.png

Parts are listed from the front door down to what imports nothing, in the order of the
layers in `pyproject.toml`. Prints every arrow; exit code 1 where one points up or where
files import each other in a circle.
"""

from __future__ import annotations

import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import grimp
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).parents[1]
PACKAGE = "jersey_assets"
BOX_WIDTH, BOX_HEIGHT, COLUMNS = 1.7, 0.5, 2.6
UP, DOWN = "#c62828", "#5c7c9c"

Arrows = dict[tuple[str, str], int]


def layers() -> list[list[str]]:
    """The parts on each level, highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            return [line.replace("|", ":").split(" : ") for line in contract["layers"]]
    raise SystemExit("pyproject.toml has no import-linter contract of type layers")


def arrows(graph: grimp.ImportGraph) -> Arrows:
    """How many imports lead from one part to another."""
    found: Arrows = defaultdict(int)
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            pair = importer.split(".")[1:2], imported.split(".")[1:2]
            if all(pair) and pair[0] != pair[1]:
                found[pair[0][0], pair[1][0]] += 1
    return found


def circles(graph: grimp.ImportGraph) -> list[list[str]]:
    """Files that import each other, directly or through others."""
    reached = {module: graph.find_upstream_modules(module) for module in graph.modules}
    found = {
        tuple(sorted({module, *(m for m in above if module in reached[m])}))
        for module, above in reached.items()
    }
    return [list(members) for members in sorted(found) if len(members) > 1]


def _everything_below(found: Arrows) -> dict[str, set[str]]:
    """What each part reaches, directly or through others."""
    below: dict[str, set[str]] = defaultdict(set)
    for _ in range(len(found)):
        before = sum(map(len, below.values()))
        for importer, imported in found:
            below[importer] |= {imported} | below[imported]
        if sum(map(len, below.values())) == before:
            break
    return below


def draw(levels: list[list[str]], found: Arrows) -> Figure:
    """Boxes for parts, one row a level; an arrow from importer to imported.

    Arrows that a longer way implies are faint.
    """
    below = _everything_below(found)
    figure = Figure(figsize=(13, 1.05 * len(levels)))
    axes = figure.subplots()
    places = {}
    for row, parts in enumerate(levels):
        for column, part in enumerate(parts):
            # Levels lean to alternating sides, so that long arrows miss the boxes.
            lean = (1.5 if row % 2 else -1.5) * (len(parts) % 2)
            x = (column - (len(parts) - 1) / 2) * COLUMNS + lean
            places[part] = (x, -float(row))
    for (importer, imported), count in found.items():
        (x, y), (to_x, to_y) = places[importer], places[imported]
        up = to_y >= y
        implied = any(imported in below[part] for one, part in found if one == importer)
        axes.add_patch(
            FancyArrowPatch(
                (x, y - BOX_HEIGHT / 2),
                (to_x, to_y + BOX_HEIGHT / 2),
                connectionstyle=f"arc3,rad={0.18 if to_x <= x else -0.18}",
                arrowstyle="-|>",
                mutation_scale=9,
                color=UP if up else DOWN,
                linewidth=2.5 if up else 0.5 + min(count, 20) / 12,
                alpha=1.0 if up else 0.2 if implied else 0.9,
                zorder=1,
            )
        )
    for part, (x, y) in places.items():
        corner = (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2)
        box = FancyBboxPatch(
            corner, BOX_WIDTH, BOX_HEIGHT, boxstyle="round,pad=0.04", zorder=2
        )
        folder = (ROOT / PACKAGE / part).is_dir()
        box.set(facecolor="#eef3f8" if folder else "white", edgecolor="#39516b")
        axes.add_patch(box)
        name = f"{part}/" if folder else f"{part}.py"
        axes.text(x, y, name, ha="center", va="center", zorder=3)
    axes.set_xlim(-2 * COLUMNS, 2 * COLUMNS)
    axes.set_ylim(-len(levels) + 0.4, 0.6)
    axes.axis("off")
    figure.tight_layout()
    return figure


def main() -> None:
    """Draws, prints and judges."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True)
    levels, found = layers(), arrows(graph)
    height = {part: row for row, parts in enumerate(levels) for part in parts}
    if unknown := {part for pair in found for part in pair} - height.keys():
        raise SystemExit(f"pyproject.toml has no layer for {', '.join(unknown)}")
    for (importer, imported), count in sorted(
        found.items(), key=lambda item: (height[item[0][0]], height[item[0][1]])
    ):
        print(f"{importer:>14} → {imported:<14} {count:3} imports")
    draw(levels, found).savefig(sys.argv[1], dpi=110)
    upward = [pair for pair in found if height[pair[0]] >= height[pair[1]]]
    loops = circles(graph)
    for importer, imported in upward:
        print(f"points up: {importer} → {imported}")
    for members in loops:
        print(f"import each other: {', '.join(members)}")
    print(f"{len(found)} arrows, {len(upward)} up, {len(loops)} circles: {sys.argv[1]}")
    sys.exit(bool(upward or loops))


if __name__ == "__main__":
    main()
