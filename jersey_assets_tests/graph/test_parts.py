"""Pages of artifacts: whatever the labels, they are shown and nothing fails on them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from jersey_assets.graph.labels import rendered_page, statistics_page
from jersey_assets.graph.training import checkpoint_page, evaluation_page
from jersey_assets.labels.statistics import write_statistics
from jersey_assets.storage.manifest import Artifact, Origin
from jersey_assets.storage.store import Store
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.evaluation import evaluate, write_evaluation
from jersey_assets.training.result import Training
from jersey_assets_tests.training.quick import quick_fit

ORIGIN = Origin("code", (), {})


def many_labels(count: int) -> list[str]:
    if count == 101:
        return sorted(["", *map(str, range(100))])
    return [f"{number:03}" for number in range(count)]


def crops_of(count: int, split: str) -> Crops:
    """Crops of noise for some of so many labels, the first and the last among them."""
    made = np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), np.uint8)
    names = tuple(f"{split}/{number}.png" for number in range(64))
    targets = torch.linspace(0, count - 1, 64).round().long()
    return Crops(torch.from_numpy(made), targets, names)


def train_on(count: int) -> tuple[Training, Crops]:
    crops = crops_of(count, "valid")
    labels = many_labels(count)
    return quick_fit(labels, crops_of(count, "train"), crops, epochs=1), crops


def picture(shown: dg.MetadataValue) -> Image.Image:
    """The picture on a page, which the event log has room for."""
    assert isinstance(shown, dg.MarkdownMetadataValue)
    assert shown.value is not None
    found = re.fullmatch(r"!\[.*\]\(data:image/png;base64,(.*)\)", shown.value)
    assert found is not None
    data = base64.b64decode(found[1])
    assert len(data) <= 60_000
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(
    "count", [101, 200, pytest.param(1000, marks=pytest.mark.slow)]
)
def test_pages_of_many_labels_show_their_pictures(count: int, tmp_path: Path) -> None:
    training, crops = train_on(count)
    store = Store(str(tmp_path))
    trained = store.publish("trained_checkpoint", ORIGIN, training.write)
    checkpoint = training.checkpoint
    evaluation = evaluate(checkpoint, "valid", crops)
    evaluated = store.publish(
        "evaluation_report",
        ORIGIN,
        lambda folder: write_evaluation(evaluation, checkpoint, crops, folder),
    )
    rows = pd.DataFrame({"width": [32] * count, "height": [32] * count})
    statistics = {
        "images": {"train": count},
        "num_classes": count,
        "classes": {label: {"train": 1} for label in many_labels(count)},
        "imbalance": 1.0,
        "width": {"median": 32},
        "height": {"median": 32},
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
        "metadata": {"k": {"v": count}},
    }
    measured = store.publish(
        "dataset_statistics",
        ORIGIN,
        lambda folder: write_statistics(statistics, rows, folder),
    )
    drawn = {"confusion", "per_class", "predictions", "grad_cam"}
    for artifact, page, names in (
        (trained, checkpoint_page(trained), {"curves", "augmented", "confusion"}),
        (evaluated, evaluation_page(evaluated), drawn),
        (measured, statistics_page(measured), {"classes", "sizes", "metadata"}),
    ):
        for name in names:
            assert min(picture(page[name]).size) > 100
            assert artifact.file(f"{name}.png").stat().st_size <= 2_000_000


def publish_picture(store: Store, png: bytes) -> Artifact:
    """A page that shows one picture."""

    def make(folder: Path) -> None:
        pd.DataFrame({"label": ["7"]}).to_parquet(folder / "crops.parquet")
        (folder / "drawn.png").write_bytes(png)

    return store.publish("rendered_crops", ORIGIN, make)


def noise_png(side: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("what", ["too large", "no picture", "cut", "gone"])
def test_a_picture_that_cannot_be_shown_is_named_by_its_path(
    what: str, tmp_path: Path
) -> None:
    png = {"too large": noise_png(2_300), "no picture": b"hello " * 20_000}.get(
        what, noise_png(300)
    )
    artifact = publish_picture(Store(str(tmp_path)), png)
    if what == "cut":
        artifact.file("drawn.png").write_bytes(png[:100_000])
    if what == "gone":
        artifact.file("drawn.png").unlink()
    page = rendered_page(artifact)
    assert isinstance(page["labels"], dg.TableMetadataValue)
    assert page["crops"] == 1
    assert page["drawn"] == dg.MetadataValue.path(f"{artifact.location}/drawn.png")
