"""Dataset statistics: label counts, crop sizes, channel mean and std, metadata."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jersey_assets.annotations.disk.confined import read_validated
from jersey_assets.crops.decode import decode_crop
from jersey_assets.text import shorten

# Means over this many crops are steady to the third digit.
MAX_SAMPLED_CROPS = 5_000
_SHOWN_KEYS = 12
_SHOWN_VALUES = 20
# Of metadata that is not categorical, only this many values are counted.
_KEYS_OF_A_ROW = 64
_COUNTED_KEYS = 1_000
_COUNTED_VALUES = 1_000
_OTHER = "(other)"


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
    from jersey_assets.plots.png import draw_png
    from jersey_assets.plots.statistics import (
        class_counts,
        image_sizes,
        metadata_distributions,
    )

    text = json.dumps(statistics, indent=1, ensure_ascii=False)
    (folder / "statistics.json").write_text(text, "utf-8")
    classes = statistics["classes"]
    counts = {
        split: [row[split] for row in classes.values()]
        for split in statistics["images"]
    }
    draw_png(folder / "classes.png", class_counts, list(classes), counts)
    sizes = table["width"], table["height"]
    draw_png(folder / "sizes.png", image_sizes, *sizes)
    if metadata := statistics["metadata"]:
        draw_png(folder / "metadata.png", metadata_distributions, metadata)


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
    # A dataset of a single grey has no spread; dividing by it must stay possible.
    std = np.sqrt(np.maximum(np.mean(squares, axis=0) - mean**2, 1e-4))
    return [round(float(v), 6) for v in mean], [round(float(v), 6) for v in std]


def _metadata_distributions(column: pd.Series[str]) -> dict[str, dict[str, int]]:
    """Counts the values of each metadata key; long keys and values are cut.

    Long tails are summed as `(other)`; of very many keys only some are counted.
    """
    counted: dict[str, Counter[str]] = {}
    for text in column.dropna():
        for key, value in islice(json.loads(text).items(), _KEYS_OF_A_ROW):
            name, shown = shorten(key), shorten(str(value))
            if value is None or (name not in counted and len(counted) >= _COUNTED_KEYS):
                continue
            values = counted.setdefault(name, Counter())
            if shown not in values and len(values) >= _COUNTED_VALUES:
                shown = _OTHER
            values[shown] += 1
    found = {}
    for key in sorted(counted)[:_SHOWN_KEYS]:
        rest = counted[key].pop(_OTHER, 0)
        ordered = counted[key].most_common()
        rest += sum(number for _, number in ordered[_SHOWN_VALUES:])
        found[key] = dict(ordered[:_SHOWN_VALUES]) | ({_OTHER: rest} if rest else {})
    return found
