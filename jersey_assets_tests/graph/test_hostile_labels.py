"""Labels and file names that want to be code, through the whole graph."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets.labels.file import read_classes
from jersey_assets.rendering.dataset import LABELS as DRAWN
from jersey_assets.rendering.dataset import render_dataset
from jersey_assets.storage.store import Store
from jersey_assets_tests.whole_graph import GOOD_RECIPE, run_graph

LABELS = [
    "<script>alert(1)</script>",
    "$(touch pwned)",
    "`touch pwned`",
    "`<img src=x onerror=alert(1)>",
    "../../../pwned",
    "{{ 7 * 7 }}",
    "$\\frac{",
    "a|b",
    "x\\",
    '"',
    "%s%n",
    "-rf",
]
NAMES = [
    "<img src=x onerror=alert(1)>.jpg",
    "$(touch pwned).jpg",
    "a;touch pwned.jpg",
    "`touch pwned`.jpg",
    "{{ 7 * 7 }}.jpg",
    "$\\frac{.jpg",
    "-rf.jpg",
]


def rename(data: Path) -> None:
    """Keeps a dozen numbers, gives each a hostile label, and some images such a name.

    One label per number, so that the labels can be learnt and the model is released.
    """
    numbers = [number for number in DRAWN if number][: len(LABELS)]
    labels = dict(zip(numbers, LABELS, strict=True))
    for file in data.glob("*/annotations.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        rows = [row for row in rows if row["suffix"] in labels]
        for row, name in zip(rows, NAMES, strict=False):
            (file.parent / row["image"]).rename(file.parent / "crops" / name)
            row["image"] = f"crops/{name}"
        for row in rows:
            row["suffix"] = labels[row["suffix"]]
            row["metadata"] = {LABELS[0]: LABELS[6], "jersey_color": LABELS[0]}
        file.write_text("\n".join(map(json.dumps, rows)) + "\n")


@pytest.mark.slow
def test_labels_and_names_are_text_wherever_they_go(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = tmp_path / "data"
    render_dataset(data, train=400, valid=60, test=60, seed=7)
    rename(data)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    artifacts = tmp_path / "artifacts"
    pattern = ".{0,40}"
    result = run_graph(data, artifacts, instance, GOOD_RECIPE, label_pattern=pattern)
    assert result.success

    store = Store(str(artifacts))
    assert set(read_classes(store.require("class_mapping").folder)) == {*LABELS}
    page = store.require("parity_report").file("report.html").read_text()
    card = store.require("released_model").file("MODEL_CARD.md").read_text()
    for markup in ("<script>alert", "<img src=x"):
        assert markup not in page
        # In Markdown a code span is text; this one's backticks are spelled otherwise.
        outside = itertools.islice(card.split("`"), 0, None, 2)
        assert not any(markup in text for text in outside)
    made = [path.name for path in tmp_path.rglob("*") if data not in path.parents]
    assert not any("pwned" in name or "script" in name for name in made)
