"""Draws the parity report's figures: errors, logits and latency of two runtimes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jersey_assets.plots.style import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    RED,
    Numbers,
    in_our_style,
    say,
)
from jersey_assets.text import count

_RUNTIMES = (BLUE, MUTED, ORANGE, GREEN)
_MAX_POINTS = 20_000


@in_our_style
def error_histogram(abs_errors: Numbers) -> Figure:
    """Draws how much two runtimes' outputs differ, on a log scale; counts equal ones.

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
        say(axes, "no differences")
    equal = len(errors) - len(apart)
    axes.set(
        title=f"Absolute differences of {len(errors):,} logits; {equal:,} are equal",
        xlabel="absolute difference",
        ylabel="logits",
    )
    return figure


@in_our_style
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


@in_our_style
def latency_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the time per batch against its size, with a panel per thread count.

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
        axes.set(title=count(number, "thread"), xlabel="crops per batch")
    panels[0].set_ylabel("milliseconds per batch")
    if rows:
        panels[0].legend()
    else:
        say(panels[0], "nothing was timed")
    return figure
