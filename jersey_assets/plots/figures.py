"""The project's figures: plain data in, matplotlib `Figure` out.

Nothing here reads a file, keeps state or touches pyplot, so figures can be drawn in any
thread and are freed when dropped; `png.py` turns them into bytes. matplotlib takes half
a second to import: callers import this room when they draw. Labels are shown as they
are, cut where they are long, and `""` as `∅ (none)`. A figure's size and the number of
its texts are bounded, however many labels there are.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from jersey_assets.text import count, readable, shorten

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]] | Sequence[float] | pd.Series[Any]"

BLUE, ORANGE, GREEN, RED = "#2563eb", "#ea7317", "#15936b", "#d92d20"
INK, MUTED, LINE = "#1f2937", "#6b7280", "#e5e7eb"
SPLIT_COLORS = {"train": BLUE, "valid": ORANGE, "test": GREEN}

_STYLE = {
    # By name, since a family such as sans-serif is looked up only when drawn.
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    # Metadata values and captions are text, whatever dollars are in them.
    "text.parse_math": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#9ca3af",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
}
_in_our_style = style.context(["default", _STYLE])

_RIGHT = LinearSegmentedColormap.from_list("right", ["#ffffff", "#93b4f8", "#1e40af"])
_WRONG = LinearSegmentedColormap.from_list("wrong", ["#ffffff", "#f6a59e", "#b42318"])
_HEAT = colormaps["inferno"]
_GRID_COLUMNS = 8
_RUNTIMES = (BLUE, MUTED, ORANGE, GREEN)
_MAX_POINTS = 20_000

MAX_NAMED = 120
"""Labels that a figure names one by one; of more it names some, evenly spaced."""

_SOME_NAMED = 25
_MAX_CELLS = 250
_MAX_CELL_TEXTS = 1_000
_LABEL = 12
"""Characters of a label that a figure shows."""


def show_label(label: str) -> str:
    """The label as people read it."""
    return _fit(label, _LABEL) or "∅ (none)"


def _fit(text: str, characters: int) -> str:
    return readable(shorten(text, characters))


def _named(labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """Places that get a tick, and what it says: all, or some of very many."""
    step = 1 if len(labels) <= MAX_NAMED else -(-len(labels) // _SOME_NAMED)
    places = list(range(0, len(labels), step))
    return places, [show_label(labels[place]) for place in places]


def _pitch(size: int, largest: float, smallest: float, side: float) -> float:
    """Inches from one label to the next, so that `size` of them fit on a side.

    Where they are named one by one, no nearer than `smallest`.
    """
    fitting = min(largest, side / max(size, 1))
    return fitting if size > MAX_NAMED else max(fitting, smallest)


def _tick_size(size: int, pitch: float) -> float:
    """Points of a tick label that stands so many inches from the next."""
    return min(9.0, 55 * pitch) if size <= MAX_NAMED else 9.0


def _fill_bars(
    axes: Axes,
    lengths: np.ndarray[Any, np.dtype[Any]],
    color: str,
    base: np.ndarray[Any, np.dtype[Any]] | float = 0.0,
    **options: Any,
) -> None:
    """Draws bars at 0, 1, 2, … as one artist: a thousand patches take seconds."""
    width = 0.74 if len(lengths) <= MAX_NAMED else 1.0
    places = np.arange(len(lengths))
    edges = np.column_stack((places - width / 2, places + width / 2)).ravel()
    values, bottoms = np.zeros((2, max(2 * len(lengths) - 1, 0)))
    values[::2], bottoms[::2] = lengths + base, base
    if len(lengths):
        axes.stairs(
            values, edges, baseline=bottoms, fill=True, color=color, lw=0, **options
        )


def _put_title(figure: Figure, text: str) -> None:
    """A title over the whole figure, on as many lines as its width asks for."""
    fitting = textwrap.fill(text, int(figure.get_figwidth() * _TITLE_CHARACTERS))
    figure.suptitle(fitting, x=0.01, ha="left", weight="bold", fontsize=10)


_TITLE_CHARACTERS = 11
"""Characters of a title in an inch."""


@_in_our_style
def training_curves(history: pd.DataFrame) -> Figure:
    """Draws loss, top-1 and learning rate over the epochs, and marks the best epoch.

    Args:
        history: a row per epoch: `epoch`, `train_loss`, `valid_loss`, `train_top1`,
            `valid_top1` (shares in 0..1), `learning_rate`.
    """
    figure = Figure(figsize=(9, 4.6))
    axes = figure.subplot_mosaic(
        [["loss", "top1"], ["rate", "rate"]], height_ratios=[4, 1]
    )
    epochs = history["epoch"]
    marker = "o" if len(history) < 3 else ""
    for part in ("train", "valid"):
        color = SPLIT_COLORS[part]
        for name in ("loss", "top1"):
            axes[name].plot(
                epochs,
                history[f"{part}_{name}"],
                color=color,
                label=part,
                marker=marker,
            )
    axes["loss"].set_title("Loss")
    axes["loss"].legend()
    axes["top1"].set(title=f"Top-1{_mark_best(axes['top1'], history)}", ylim=(0, 1.03))
    axes["top1"].yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes["top1"].legend(loc="lower right")
    axes["rate"].plot(epochs, history["learning_rate"], color=MUTED, marker=marker)
    axes["rate"].set(title="Learning rate", xlabel="epoch", ylim=(0, None))
    for part_axes in axes.values():
        part_axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
        part_axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def _mark_best(axes: Axes, history: pd.DataFrame) -> str:
    """Puts a dot on the best valid top-1 and returns it as words for the title."""
    scores = history["valid_top1"]
    if not scores.notna().any():
        return ""
    best = history.iloc[int(np.nanargmax(scores))]
    axes.plot(best["epoch"], best["valid_top1"], "o", color=ORANGE, markersize=8)
    return f"; best on valid {best['valid_top1']:.1%}, epoch {int(best['epoch'])}"


@_in_our_style
def confusion_matrix(
    labels: Sequence[str], matrix: np.ndarray[Any, np.dtype[Any]], of: str
) -> Figure:
    """Draws which label was read as which; the right ones blue, mistakes red.

    Args:
        labels: in class order.
        matrix: counts [C, C], rows are the true labels; colours are shares of a row.
        of: what was read, for the title.
    """
    size = len(labels)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    right, wrong = _pool(shares, _MAX_CELLS)
    diagonal = np.eye(len(right), dtype=bool)[..., None]
    # One mistake among many must still be seen, so mistakes darken faster.
    pixels = np.where(diagonal, _RIGHT(right), _WRONG(np.sqrt(wrong)))
    # Inches: as wide as the dialog in which Dagster shows it, while digits can be read.
    cell = _pitch(size, 0.25, 0.13, 8.5)
    side = 2.0 + cell * max(size, 10)
    figure = Figure(figsize=(side, side))
    axes = figure.subplots()
    ends = (-0.5, size - 0.5)
    axes.imshow(pixels, interpolation="nearest", extent=(*ends, *ends[::-1]))
    if size <= MAX_NAMED:
        edges = np.arange(size + 1) - 0.5
        axes.vlines(edges, *ends, color=LINE, linewidth=0.8)
        axes.hlines(edges, *ends, color=LINE, linewidth=0.8)
        _write_counts(axes, matrix, shares, 28 * cell)
    places, names = _named(labels)
    font_size = _tick_size(size, cell)
    axes.set_xticks(places, names, rotation=90, fontsize=font_size)
    axes.set_yticks(places, names, fontsize=font_size)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    rows, mistakes = int(matrix.sum()), int(matrix.sum() - matrix.trace())
    axes.set(xlabel="read as", ylabel="true label")
    _put_title(figure, f"Confusion matrix, {of}: {mistakes} of {rows} wrong")
    return figure


def _pool(
    shares: np.ndarray[Any, np.dtype[Any]], cells: int
) -> tuple[np.ndarray[Any, np.dtype[Any]], np.ndarray[Any, np.dtype[Any]]]:
    """Joins neighbours until at most so many cells stand on a side.

    A single label's cell would be thinner than a pixel.

    Returns:
        The mean share of right answers of each row of cells, for its diagonal, and
        the largest share of any mistake in each cell.
    """
    starts = np.arange(0, len(shares), -(-len(shares) // cells) or 1)
    labels = np.diff(np.append(starts, len(shares)))
    right = np.add.reduceat(shares.diagonal(), starts) / labels
    wrong = np.where(np.eye(len(shares), dtype=bool), 0, shares)
    for axis in (0, 1):
        wrong = np.maximum.reduceat(wrong, starts, axis=axis)
    return np.diag(right), wrong


def _write_counts(
    axes: Axes,
    matrix: np.ndarray[Any, np.dtype[Any]],
    shares: np.ndarray[Any, np.dtype[Any]],
    font_size: float,
) -> None:
    """Writes each count into its cell, unless there are too many to read."""
    cells = np.argwhere(matrix > 0)
    if len(cells) > _MAX_CELL_TEXTS:
        return
    for row, column in cells:
        share = shares[row, column]
        dark = share > 0.55 if row == column else share > 0.35
        axes.text(
            column,
            row,
            f"{int(matrix[row, column])}",
            ha="center",
            va="center",
            fontsize=font_size,
            color="white" if dark else INK,
        )


@_in_our_style
def per_class_accuracy(
    labels: Sequence[str], accuracies: Numbers, counts: Numbers
) -> Figure:
    """Draws each label's accuracy, the worst first; labels without rows come last.

    Args:
        labels: in class order.
        accuracies: shares in 0..1; not looked at where the count is 0.
        counts: rows of each label.
    """
    rows = np.asarray(counts)
    shares = np.where(rows > 0, np.asarray(accuracies, float), np.nan)
    mean = float(np.nansum(shares * rows) / max(rows.sum(), 1))
    order = np.argsort(shares, kind="stable")  # NaN sorts last
    size = len(labels)
    pitch = _pitch(size, 0.22, 0.15, 15)
    figure = Figure(figsize=(8, 1.2 + pitch * size))
    axes = figure.subplots()
    drawn = np.nan_to_num(shares[order])
    low = drawn < mean
    for which, color in ((low, ORANGE), (~low, BLUE)):
        bars = np.where(which, drawn, 0)
        _fill_bars(axes, bars, color, orientation="horizontal")
    if size <= MAX_NAMED:
        for place, i in enumerate(order):
            text = f"{shares[i]:.0%} of {rows[i]:g}" if rows[i] else "no rows"
            axes.text(
                np.nan_to_num(shares[i]) + 0.008,
                place,
                text,
                va="center",
                fontsize=min(8.0, 45 * pitch),
                color=MUTED,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
    axes.axvline(mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    ticks, names = _named([labels[i] for i in order])
    axes.set_yticks(ticks, names, fontsize=_tick_size(size, pitch))
    axes.set(xlim=(0, 1.12), ylim=(size - 0.4, -0.6))
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(axis="y", visible=False)
    axes.set_title(f"Accuracy per label; all rows {mean:.1%} (dashed), orange below it")
    return figure


@_in_our_style
def prediction_grid(
    images: np.ndarray[Any, np.dtype[np.uint8]],
    true_labels: Sequence[str],
    predicted_labels: Sequence[str],
    confidences: Sequence[float],
) -> Figure:
    """Draws crops with what was read in them; mistakes stand in a red frame.

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


@_in_our_style
def grad_cam_grid(
    images: np.ndarray[Any, np.dtype[np.uint8]],
    maps: np.ndarray[Any, np.dtype[np.float32]],
    true_labels: Sequence[str],
    predicted_labels: Sequence[str],
    confidences: Sequence[float],
) -> Figure:
    """Draws crops, and beside each where the label that was read is seen in it.

    Args:
        images: uint8 [n, H, W, 3].
        maps: [n, H, W] in 0..1.
        true_labels: what the annotation says.
        predicted_labels: what the model read.
        confidences: the model's, in 0..1.
    """
    heat = _HEAT(maps)[..., :3] * 255
    # Over the crop's greys: its own colours would be taken for heat.
    greys = images.mean(-1, keepdims=True)
    blended = (0.5 * greys + 0.5 * heat).round().astype(np.uint8)
    captions, colors = _read(true_labels, predicted_labels, confidences)
    pairs = zip(images, blended, strict=True)
    return _grid(
        [image for pair in pairs for image in pair],
        [text for caption in captions for text in (caption, "Grad-CAM\n")],
        [color for each in colors for color in (each, MUTED)],
        "Grad-CAM: what speaks for the label that was read, bright",
    )


def _read(
    true_labels: Sequence[str],
    predicted_labels: Sequence[str],
    confidences: Sequence[float],
) -> tuple[list[str], list[str]]:
    """Captions of predictions, and their colours."""
    captions, colors = [], []
    rows = zip(true_labels, predicted_labels, confidences, strict=True)
    for true, predicted, confidence in rows:
        right = true == predicted
        read = "" if right else f" → {show_label(predicted)}"
        captions.append(f"{show_label(true)}{read}\n{confidence:.0%}")
        colors.append(GREEN if right else RED)
    return captions, colors


@_in_our_style
def crop_grid(
    images: Sequence[np.ndarray[Any, np.dtype[np.uint8]]],
    captions: Sequence[str],
    width: float = 1.15,
) -> Figure:
    """Draws a contact sheet.

    Args:
        images: uint8 [H, W, 3], of any sizes.
        captions: one or two lines each, cut to what fits; `""` as a label.
        width: of a crop with its caption, in inches; some 16 characters fit in one.
    """
    return _grid(
        images, [caption or show_label("") for caption in captions], width=width
    )


@_in_our_style
def augmented_crops(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Figure:
    """Draws crops as they are, the first of each row, beside what training saw.

    Args:
        images: uint8 [rows, columns, H, W, 3].
    """
    rows, columns = images.shape[:2]
    captions = [
        ("as it is" if i == 0 else "") for _ in range(rows) for i in range(columns)
    ]
    return _grid(
        [image for row in images for image in row],
        captions,
        title="Crops as they are, and augmented draws of them",
    )


_CAPTION_CHARACTERS = 16.5
"""Characters of a caption in an inch."""


def _grid(
    images: Sequence[np.ndarray[Any, np.dtype[np.uint8]]],
    captions: Sequence[str],
    colors: Sequence[str] | None = None,
    title: str | None = None,
    width: float = 1.15,
) -> Figure:
    most = int(_GRID_COLUMNS * 1.15 / width)
    columns = min(max(len(images), 5), most)
    rows = max(-(-len(images) // columns), 1)
    figure = Figure(figsize=(width * columns, 1.5 * rows + 0.4))
    if title:
        _put_title(figure, title)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for cell in cells:
        cell.grid(False)
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_visible(False)
    shown = zip(cells, images, captions, colors or [INK] * len(images), strict=False)
    for cell, image, caption, color in shown:
        # The pixels as they are; smoothed ones take twice the bytes.
        cell.imshow(image, interpolation="nearest")
        fitting = int(width * _CAPTION_CHARACTERS)
        lines = [_fit(line, fitting) for line in caption.split("\n")]
        cell.set_title("\n".join(lines), color=color, fontsize=8, loc="center", pad=3)
        if color == RED:
            cell.spines[:].set(visible=True, color=RED, linewidth=2.5)
    return figure


@_in_our_style
def class_counts(
    labels: Sequence[str], counts_by_split: Mapping[str, Numbers]
) -> Figure:
    """Draws how many rows each label has, the splits stacked, frequent labels first.

    Args:
        labels: any order.
        counts_by_split: split -> count per label.
    """
    counts = {split: np.asarray(values) for split, values in counts_by_split.items()}
    total = np.sum(list(counts.values()), axis=0)
    order = np.argsort(-total, kind="stable")
    size = len(labels)
    pitch = _pitch(size, 0.24, 0.13, 10)
    figure = Figure(figsize=(max(6, 1.5 + pitch * size), 3.8))
    axes = figure.subplots()
    base = np.zeros(size)
    for split, values in counts.items():
        color = SPLIT_COLORS.get(split, MUTED)
        label = f"{split}: {int(values.sum()):,}"
        _fill_bars(axes, values[order], color, base, label=label)
        base += values[order]
    ticks, names = _named([labels[i] for i in order])
    axes.set_xticks(
        ticks,
        names,
        rotation=90 if size > 12 else 0,
        fontsize=_tick_size(size, pitch),
    )
    axes.set_xlim(-0.7, size - 0.3)
    axes.set_ylim(0, max(float(base.max(initial=0)), 1) * 1.05)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    axes.set(title="Rows per label", ylabel="rows")
    axes.legend()
    return figure


@_in_our_style
def image_sizes(widths: Numbers, heights: Numbers) -> Figure:
    """Draws the crops' sizes in px: how many of each, and either side on its own."""
    x, y = np.asarray(widths), np.asarray(heights)
    x_bins, y_bins = _pixel_bins(x), _pixel_bins(y)
    figure = Figure(figsize=(6.4, 5.6))
    axes = figure.subplot_mosaic(
        [["top", "."], ["both", "side"]], width_ratios=[4, 1], height_ratios=[1, 4]
    )
    both = axes["both"]
    both.hist2d(x, y, bins=(x_bins, y_bins), cmin=1, cmap=_RIGHT, norm=LogNorm(0.3))
    axes["top"].hist(x, bins=list(x_bins), color=BLUE)
    axes["side"].hist(y, bins=list(y_bins), color=BLUE, orientation="horizontal")
    for name in ("top", "side"):
        axes[name].tick_params(labelbottom=name == "side", labelleft=name == "top")
    axes["top"].sharex(both)
    axes["side"].sharey(both)
    middle_x, middle_y = np.median(x), np.median(y)
    both.axvline(middle_x, color=ORANGE, linewidth=1)
    both.axhline(middle_y, color=ORANGE, linewidth=1)
    both.set(xlabel="width, px", ylabel="height, px")
    axes["top"].set_title(
        f"Sizes of {len(x):,} crops; median {middle_x:g} × {middle_y:g} px (orange)"
    )
    return figure


def _pixel_bins(sides: np.ndarray[Any, np.dtype[Any]]) -> list[float]:
    """Edges of at most 40 bins, each holding the same number of whole pixels."""
    low, high = int(sides.min()), int(sides.max())
    step = max(-(-(high - low + 1) // 40), 1)
    return [float(edge) - 0.5 for edge in range(low, high + step + 1, step)]


@_in_our_style
def error_histogram(abs_errors: Numbers) -> Figure:
    """Draws how far two runtimes' outputs are apart; log scale, equal ones noted.

    Args:
        abs_errors: absolute differences, any shape, 0 or more.
    """
    errors = np.asarray(abs_errors, float).ravel()
    apart = errors[errors > 0]
    figure = Figure(figsize=(7, 3.4))
    axes = figure.subplots()
    if len(apart):
        low, high = np.log10(apart.min()), np.log10(apart.max())
        axes.hist(
            apart, bins=list(np.logspace(low - 0.05, high + 0.05, 50)), color=BLUE
        )
        axes.set_xscale("log")
        axes.axvline(apart.max(), color=RED, linewidth=1.4)
        axes.annotate(
            f"max {apart.max():.2g} ",
            (apart.max(), 0.94),
            xycoords=("data", "axes fraction"),
            ha="right",
            color=RED,
            weight="bold",
        )
    else:
        _say(axes, "no difference at all")
    equal = len(errors) - len(apart)
    axes.set(
        title=f"Absolute differences of {len(errors):,} logits; {equal:,} are equal",
        xlabel="absolute difference",
        ylabel="logits",
    )
    return figure


@_in_our_style
def logits_scatter(torch_logits: Numbers, onnx_logits: Numbers) -> Figure:
    """Draws the two runtimes' logits against each other; equal ones on the diagonal.

    Args:
        torch_logits: PyTorch's, any shape.
        onnx_logits: onnxruntime's, the same shape; of very many, some are shown.
    """
    x, y = np.asarray(torch_logits).ravel(), np.asarray(onnx_logits).ravel()
    worst = float(np.abs(x - y).max(initial=0))
    step = -(-len(x) // _MAX_POINTS) or 1
    figure = Figure(figsize=(5.2, 5.2))
    axes = figure.subplots()
    if len(x):
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.scatter(x[::step], y[::step], s=7, color=BLUE, alpha=0.35, linewidths=0)
    axes.set(
        title=f"{len(x):,} logits; at most {worst:.2g} apart",
        xlabel="PyTorch",
        ylabel="onnxruntime",
        aspect="equal",
    )
    return figure


@_in_our_style
def latency_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the time of a batch against its size, a panel for each thread count.

    Args:
        rows: `runtime`, `threads`, `batch_size`, `milliseconds`.
    """
    threads = sorted({row["threads"] for row in rows})
    sizes = sorted({row["batch_size"] for row in rows})
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    figure = Figure(figsize=(9, 3.8))
    panels = figure.subplots(1, max(len(threads), 1), squeeze=False, sharey=True)[0]
    for axes, number in zip(panels, threads, strict=False):
        for runtime, color in zip(runtimes, itertools.cycle(_RUNTIMES), strict=False):
            times = {
                row["batch_size"]: row["milliseconds"]
                for row in rows
                if (row["runtime"], row["threads"]) == (runtime, number)
            }
            axes.plot(
                list(times), list(times.values()), "o-", color=color, label=runtime
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
        axes.set(title=count(number, "thread"), xlabel="crops in a batch")
    panels[0].set_ylabel("milliseconds a batch")
    if rows:
        panels[0].legend()
    else:
        _say(panels[0], "nothing was timed")
    return figure


@_in_our_style
def metadata_distributions(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draws how often each value of each metadata key occurs, one panel a key.

    Args:
        counts: key -> value -> rows.
    """
    columns = min(max(len(counts), 1), 3)
    sizes = [len(values) for values in counts.values()] or [1]
    longest = [max(sizes[i : i + columns]) for i in range(0, len(sizes), columns)]
    heights = [0.9 + 0.22 * size for size in longest]
    figure = Figure(figsize=(3.4 * columns, sum(heights)))
    cells = figure.subplots(
        len(heights), columns, squeeze=False, height_ratios=heights
    ).ravel()
    for cell in cells[len(counts) :]:
        cell.set_axis_off()
    for panel, (key, values) in enumerate(counts.items()):
        cell = cells[panel]
        bars = cell.barh(range(len(values)), list(values.values()), 0.72, color=BLUE)
        cell.bar_label(bars, padding=3, fontsize=8, color=MUTED)
        cell.set_yticks(range(len(values)), [_fit(value, 28) for value in values])
        cell.set_ylim(longest[panel // columns] - 0.4, -0.6)
        cell.margins(x=0.18)
        cell.set_title(_fit(key, 28))
        cell.grid(axis="y", visible=False)
        cell.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if not counts:
        _say(cells[0], "no metadata")
    return figure


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
