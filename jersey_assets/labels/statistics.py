"""Dataset statistics: what the network will see, before it sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jersey_assets.annotations.files import read_validated
from jersey_assets.annotations.images import decode_crop

# Means over this many crops are steady to the third digit.
MAX_SAMPLED_CROPS = 5_000
_SHOWN_KEYS = 12
_SHOWN_VALUES = 20


def dataset_statistics(root: Path, table: pd.DataFrame) -> dict[str, Any]:
    """Counts labels, sizes and metadata, and measures train's colours.

    Args:
        root: the dataset root.
        table: the validated table.

    Returns:
        The content of `statistics.json`; `mean` and `std` are the channels' over
        the pixels of train, each crop counting the same, on the 0..1 scale.
    """
    counts = pd.crosstab(table["label"], table["split"])
    train = table[table["split"] == "train"]
    per_class = counts["train"]
    mean, std = _channel_statistics(root, train)
    return {
        "images": {
            split: int(count) for split, count in table["split"].value_counts().items()
        },
        "num_classes": int((per_class > 0).sum()),
        "classes": {
            label: {split: int(row[split]) for split in counts.columns}
            for label, row in counts.iterrows()
        },
        "imbalance": float(per_class.max() / per_class[per_class > 0].min()),
        "width": _spread(table["width"]),
        "height": _spread(table["height"]),
        "mean": mean,
        "std": std,
        "metadata": _metadata_distributions(train["metadata"]),
    }


def write_statistics(
    statistics: Mapping[str, Any], table: pd.DataFrame, folder: Path
) -> None:
    """Writes `statistics.json` and its pictures."""
    from jersey_assets.plots import figures
    from jersey_assets.plots.png import draw_png

    text = json.dumps(statistics, indent=1, ensure_ascii=False)
    (folder / "statistics.json").write_text(text, "utf-8")
    classes = statistics["classes"]
    counts = {
        split: [row[split] for row in classes.values()]
        for split in statistics["images"]
    }
    draw_png(folder / "classes.png", figures.class_counts, list(classes), counts)
    sizes = table["width"], table["height"]
    draw_png(folder / "sizes.png", figures.image_sizes, *sizes)
    if metadata := statistics["metadata"]:
        draw_png(folder / "metadata.png", figures.metadata_distributions, metadata)


def _spread(values: pd.Series[int]) -> dict[str, float]:
    return {
        "min": float(values.min()),
        "median": float(values.median()),
        "max": float(values.max()),
    }


def _channel_statistics(
    root: Path, train: pd.DataFrame
) -> tuple[list[float], list[float]]:
    sample = train
    if len(train) > MAX_SAMPLED_CROPS:
        sample = train.sample(MAX_SAMPLED_CROPS, random_state=0)
    means, squares = [], []
    for name, digest in zip(sample["image"], sample["image_sha256"], strict=True):
        crop = decode_crop(read_validated(root, name, digest))
        pixels = np.asarray(crop, np.float64) / 255
        means.append(pixels.mean((0, 1)))
        squares.append((pixels**2).mean((0, 1)))
    mean = np.mean(means, axis=0)
    # A dataset of one grey has no spread; dividing by it must stay possible.
    std = np.sqrt(np.maximum(np.mean(squares, axis=0) - mean**2, 1e-4))
    return [round(float(v), 6) for v in mean], [round(float(v), 6) for v in std]


def _metadata_distributions(column: pd.Series[str]) -> dict[str, dict[str, int]]:
    """Counts the values of each metadata key; long tails are summed as `(other)`."""
    rows = pd.DataFrame([json.loads(text) for text in column.dropna()])
    found = {}
    for key in sorted(map(str, rows.columns))[:_SHOWN_KEYS]:
        counts = rows[key].dropna().astype(str).value_counts()
        shown = {
            str(value): int(count) for value, count in counts[:_SHOWN_VALUES].items()
        }
        if len(counts) > _SHOWN_VALUES:
            shown["(other)"] = int(counts[_SHOWN_VALUES:].sum())
        found[key] = shown
    return found
