"""Labels of all rows together: `label.*` where they contradict or repeat."""

from __future__ import annotations

import pytest
from PIL import Image

from jersey_assets.annotations.checks import verdicts
from jersey_assets.annotations.rules import Rules
from jersey_assets_tests.annotations.datasets import (
    BAD,
    TEST_ROWS,
    TRAIN,
    VALID_ROWS,
    Dataset,
    assert_nothing_is_lost,
    check,
    encoded,
    row,
)


def test_one_image_with_two_labels_is_set_aside_with_both_lines(good: Dataset) -> None:
    good.lines(TRAIN, [row("crops/0.png", "23")])
    check(
        good,
        "quarantine",
        {(TRAIN, 1, "label.conflict"), (TRAIN, BAD, "label.conflict")},
    )
    messages = list(good.validate().rejected["message"])
    assert f"{TRAIN}:{BAD}" in messages[0]
    assert f"{TRAIN}:1" in messages[1]


def test_labels_conflict_over_splits_too(good: Dataset) -> None:
    good.lines("valid/annotations.jsonl", [row("../train/crops/0.png", "23")])
    check(
        good,
        "quarantine",
        {
            (TRAIN, 1, "label.conflict"),
            ("valid/annotations.jsonl", VALID_ROWS + 1, "label.conflict"),
        },
    )


def test_labels_conflict_behind_a_link(good: Dataset) -> None:
    (good.root / "train/crops/x.png").symlink_to("0.png")
    good.lines(TRAIN, [row("crops/x.png", "23")])
    check(
        good,
        "quarantine",
        {(TRAIN, 1, "label.conflict"), (TRAIN, BAD, "label.conflict")},
    )


def test_the_same_pixels_with_two_labels_in_one_split_conflict(good: Dataset) -> None:
    with Image.open(good.root / "train/crops/0.png") as image:
        good.image("train/crops/x.png", encoded(image, compress_level=1))
    good.lines(TRAIN, [row("crops/x.png", "23")])
    check(
        good,
        "quarantine",
        {(TRAIN, 1, "label.conflict"), (TRAIN, BAD, "label.conflict")},
    )


def test_an_image_with_very_many_labels_is_told_in_short_sentences(
    good: Dataset,
) -> None:
    good.image("train/crops/x.png", 99)
    labels = [str(n % 100) for n in range(3000)]
    good.lines(TRAIN, [row("crops/x.png", label) for label in labels])
    validation = good.validate()
    assert_nothing_is_lost(validation)
    conflicts = validation.rejected
    assert set(conflicts["reason"]) == {"label.conflict"}
    assert len(conflicts) == 3000
    assert conflicts["message"].str.len().max() < 400
    assert "and 96 more" in conflicts["message"][0]
    assert all(len(v.message) < 3000 for v in verdicts(validation, Rules()))


def test_prefer_number_keeps_only_a_row_that_holds(good: Dataset) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", "7", prefix=5), row("crops/x.png", "")])
    check(
        good,
        "quarantine",
        {
            (TRAIN, BAD, "row.wrong_type"),
            (TRAIN, BAD, "label.conflict"),
            (TRAIN, BAD + 1, "label.conflict"),
        },
        conflict_policy="prefer_number",
    )


def test_prefer_number_excuses_no_other_fault(good: Dataset) -> None:
    for n in range(4):
        good.image(f"train/crops/x{n}.png", b"no picture")
        rows = [row(f"crops/x{n}.png", label) for label in ["", "", "", "", "7"]]
        good.lines(TRAIN, rows)
    refused = good.validate(conflict_policy="prefer_number")
    assert refused.summary["outcome"] == "reject"
    assert refused.summary["resolved"] == 0


@pytest.mark.parametrize(
    "spelling", ["crops/0.png", "./crops//0.png", "crops/../crops/0.png"]
)
def test_the_same_annotation_twice_is_merged(good: Dataset, spelling: str) -> None:
    good.lines(TRAIN, [row(spelling, "7")])
    check(good, "accept_with_warning", {(TRAIN, BAD, "label.duplicate")})


def test_prefer_number_keeps_the_number_and_says_which(good: Dataset) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", ""), row("crops/x.png", "7")])
    check(
        good,
        "quarantine",
        {(TRAIN, BAD, "label.conflict")},
        conflict_policy="prefer_number",
    )
    validation = good.validate(conflict_policy="prefer_number")
    assert validation.summary["resolved"] == 1
    assert f"{TRAIN}:{BAD + 1}" in validation.rejected["message"].iloc[0]


def test_prefer_number_does_not_choose_between_two_numbers(good: Dataset) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", label) for label in ("", "7", "23")])
    check(
        good,
        "quarantine",
        {(TRAIN, BAD + n, "label.conflict") for n in range(3)},
        conflict_policy="prefer_number",
    )


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_label_that_train_lacks_is_set_aside(good: Dataset, split: str) -> None:
    good.image(f"{split}/crops/x.png", 99)
    good.lines(f"{split}/annotations.jsonl", [row("crops/x.png", "42")])
    line = (VALID_ROWS if split == "valid" else TEST_ROWS) + 1
    check(good, "quarantine", {(f"{split}/annotations.jsonl", line, "label.unknown")})


def test_a_rare_label_is_kept_with_a_warning(good: Dataset) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", "42")])
    check(good, "accept_with_warning", {(TRAIN, BAD, "label.rare")})
