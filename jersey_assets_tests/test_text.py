"""Text from files is cut and escaped, and counts agree with their nouns."""

from __future__ import annotations

from jersey_assets.text import count, shorten, shorten_path


def test_one_is_singular_and_all_else_is_not() -> None:
    assert [count(n, "epoch") for n in (0, 1, 2, 1_200)] == [
        "0 epochs",
        "1 epoch",
        "2 epochs",
        "1,200 epochs",
    ]
    assert count(1, "class", "classes") == "1 class"
    assert count(3, "row is", "rows are") == "3 rows are"


def test_a_path_keeps_its_end() -> None:
    path = "train/" + "d/" * 1_000 + "annotations.jsonl"
    assert shorten_path(path).endswith("/annotations.jsonl")
    assert shorten_path(path).startswith("train/d/")
    assert len(shorten_path(path)) == 161
    assert shorten_path("train/a.jsonl") == "train/a.jsonl"


def test_what_utf8_cannot_hold_is_escaped() -> None:
    assert shorten("a\ud800") == "a\\ud800"
    assert shorten_path("a\udcff") == "a\\udcff"
