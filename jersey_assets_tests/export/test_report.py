"""The report's page: whole in itself, escaped, and with every disagreement on it."""

from __future__ import annotations

import base64
import copy
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jersey_assets.export.parity import write_parity
from jersey_assets.export.parity_checks import verdicts
from jersey_assets.export.report import write_html
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets_tests.export.models import make_crops

CROPS = make_crops(40, 32)
HOSTILE = '<script src="https://example.org/x.js"></script>'


class Page(HTMLParser):
    """What a browser would see: addresses that it would fetch, tags, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loading = {"src", "href", "srcset", "data", "action", "poster"}
        self.addresses += [value or "" for key, value in attrs if key in loading]

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


@pytest.fixture(scope="module")
def folder(
    small: Checkpoint, small_bytes: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A written parity report."""
    made = tmp_path_factory.mktemp("page")
    (made / "model.onnx").write_bytes(small_bytes)
    write_parity(made / "model.onnx", small, CROPS, made)
    return made


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def rewritten(report: dict[str, Any], folder: Path) -> tuple[Page, str]:
    write_html(report, verdicts(report), CROPS, folder)
    text = (folder / "report.html").read_text("utf-8")
    return Page(text), text


def test_the_page_fetches_nothing_and_runs_nothing(folder: Path) -> None:
    text = (folder / "report.html").read_text("utf-8")
    page = Page(text)
    assert len(page.addresses) == 3
    assert all(a.startswith("data:image/png;base64,") for a in page.addresses)
    assert {"script", "link", "iframe", "object", "embed"}.isdisjoint(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_the_page_holds_the_figures_of_the_folder(folder: Path) -> None:
    page = Page((folder / "report.html").read_text("utf-8"))
    shown = [base64.b64decode(a.partition(",")[2]) for a in page.addresses]
    names = ("errors.png", "logits.png", "latency.png")
    assert shown == [(folder / name).read_bytes() for name in names]


def test_the_page_tells_verdict_checks_tables_and_origin(
    report: dict[str, Any], tmp_path: Path
) -> None:
    page, _ = rewritten(report, tmp_path)
    assert "Yes." in page.text
    for verdict in verdicts(report):
        assert verdict.name in page.text
    assert page.text.count("pass ") >= 3
    assert "FAIL" not in page.text
    assert report["tolerance_reason"] in page.text
    for row in report["probes"]:
        assert row["kind"] in page.text
    assert f"{report['max_abs_error']:.3g}" in page.text
    for row in report["latency"]:
        assert f"{row['milliseconds']:.2f} ms" in page.text
    assert report["model_sha256"] in page.text
    assert "run-1" in page.text
    assert "11: ∅ (none), 0, 00, 1" in page.text


def test_disagreements_are_listed_with_margin_and_crop(
    report: dict[str, Any], tmp_path: Path
) -> None:
    changed = copy.deepcopy(report)
    changed["passed"] = False
    changed["disagreements"] = [
        {"image": CROPS.names[7], "onnx": "", "torch": "23", "margin": 1.25},
        {"image": CROPS.names[9], "onnx": None, "torch": "4", "margin": None},
    ]
    page, _ = rewritten(changed, tmp_path)
    assert "do not deploy" in page.text
    assert "FAIL" in page.text
    for text in ("Disagreements: 2", CROPS.names[7], "∅ (none)", "1.25", "no answer"):
        assert text in page.text
    crop = base64.b64decode(page.addresses[0].partition(",")[2])
    expected = CROPS.images[7].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(crop))), expected)


def test_more_disagreements_than_a_page_should_hold_are_counted(
    report: dict[str, Any], tmp_path: Path
) -> None:
    case = {"image": CROPS.names[0], "onnx": "1", "torch": "4", "margin": 1.0}
    page, _ = rewritten(report | {"disagreements": [case] * 201}, tmp_path)
    assert "Disagreements: 201" in page.text
    assert "The first 200 are shown" in page.text
    assert len(page.addresses) == 200


def test_text_from_outside_is_shown_as_text(
    report: dict[str, Any], tmp_path: Path
) -> None:
    metadata = report["metadata"] | {"jersey.run_id": HOSTILE, HOSTILE: HOSTILE}
    page, text = rewritten(report | {"metadata": metadata}, tmp_path)
    assert HOSTILE not in text
    assert page.text.count(HOSTILE) == 3
    assert "script" not in page.tags


def test_numbers_that_are_not_finite_are_said_to_be_none(
    report: dict[str, Any], tmp_path: Path
) -> None:
    changed = copy.deepcopy(report)
    changed["max_abs_error"] = None
    changed["per_batch_size"][0]["cosine_min"] = None
    changed["passed"] = False
    page, _ = rewritten(changed, tmp_path)
    assert page.text.count("not a number") >= 2
