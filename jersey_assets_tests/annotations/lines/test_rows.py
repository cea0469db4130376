"""Fields and labels of one row: `row.*` and `label.*`."""

from __future__ import annotations

import pytest

from jersey_assets_tests.annotations.datasets import (
    BAD,
    TRAIN,
    TRAIN_ROWS,
    Dataset,
    assert_nothing_is_lost,
    check,
    row,
)


def test_an_empty_object_lacks_both_fields(good: Dataset) -> None:
    good.lines(TRAIN, [{}])
    check(good, "quarantine", {(TRAIN, BAD, "row.missing_field")})
    assert set(good.validate().rejected["field"]) == {"image", "suffix"}


TYPES = {
    "23": 23,
    "0": 0,
    "23.0": 23.0,
    "-1": -1,
    "true": True,
    "null": None,
    "list": ["23"],
    "object": {"number": "23"},
    "big": 10**400,
}


@pytest.mark.parametrize("value", TYPES)
def test_a_suffix_that_is_no_string_is_an_error_not_a_label(
    good: Dataset, value: str
) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", TYPES[value])])
    check(good, "quarantine", {(TRAIN, BAD, "row.wrong_type")})


@pytest.mark.parametrize("value", [7, 1.5, True, None, [], {}])
def test_an_image_that_is_no_string_is_set_aside(good: Dataset, value: object) -> None:
    good.lines(TRAIN, [{"image": value, "suffix": "7"}])
    check(good, "quarantine", {(TRAIN, BAD, "row.wrong_type")})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prefix", 7),
        ("prefix", ["Read"]),
        ("prefix", False),
        ("metadata", "red"),
        ("metadata", ["red"]),
        ("metadata", 7),
        ("metadata", True),
    ],
)
def test_an_optional_field_of_another_type_is_set_aside(
    good: Dataset, field: str, value: object
) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", "7", **{field: value})])
    check(good, "quarantine", {(TRAIN, BAD, "row.wrong_type")})


LABELS = {
    "a letter": ("a", "label.charset"),
    "a letter after digits": ("7a", "label.charset"),
    "minus": ("-7", "label.charset"),
    "decimal": ("7.", "label.charset"),
    "hash": ("#7", "label.charset"),
    "full-width digits": ("２３", "label.charset"),
    "Arabic digits": ("٢٣", "label.charset"),
    "superscript": ("²", "label.charset"),
    "circled": ("⑦", "label.charset"),
    "zero-width space": ("7\u200b", "label.charset"),
    "combining accent": ("7\u0301", "label.charset"),
    "NUL": ("7\x00", "label.charset"),
    "null as text": ("null", "label.charset"),
    "none as text": ("None", "label.charset"),
    "emoji": ("7️⃣", "label.charset"),
    "leading space": (" 7", "label.whitespace"),
    "trailing space": ("7 ", "label.whitespace"),
    "space alone": (" ", "label.whitespace"),
    "space between": ("2 3", "label.whitespace"),
    "trailing newline": ("23\n", "label.whitespace"),
    "newline between": ("2\n3", "label.whitespace"),
    "tab": ("7\t", "label.whitespace"),
    "no-break space": ("7\u00a0", "label.whitespace"),
    "three digits": ("123", "label.too_long"),
    "four zeros": ("0000", "label.too_long"),
    "a thousand digits": ("7" * 1000, "label.too_long"),
}


@pytest.mark.parametrize("name", LABELS)
def test_a_string_that_is_no_label_is_set_aside(good: Dataset, name: str) -> None:
    label, reason = LABELS[name]
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [row("crops/x.png", label)])
    check(good, "quarantine", {(TRAIN, BAD, reason)})


@pytest.mark.parametrize("label", ["07", "01", "09"])
def test_a_leading_zero_is_kept_with_a_warning(good: Dataset, label: str) -> None:
    for number in range(5):
        good.image(f"train/crops/x{number}.png", 100 + number)
    good.lines(TRAIN, [row(f"crops/x{number}.png", label) for number in range(5)])
    lines = range(BAD, BAD + 5)
    expected = {(TRAIN, line, "label.leading_zero") for line in lines}
    check(good, "accept_with_warning", expected)


@pytest.mark.parametrize("label", ["", "0", "00", "5", "99"])
def test_labels_of_the_contract_are_kept_as_they_are(good: Dataset, label: str) -> None:
    for number in range(5):
        good.image(f"train/crops/x{number}.png", 100 + number)
    good.lines(TRAIN, [row(f"crops/x{number}.png", label) for number in range(5)])
    check(good, "accept", set())
    validated = good.validate().validated
    assert list(validated["label"][TRAIN_ROWS : TRAIN_ROWS + 5]) == [label] * 5


def test_every_fault_of_a_row_is_reported_at_once(good: Dataset) -> None:
    good.lines(TRAIN, [{"image": "crops/none.png", "suffix": 23, "prefix": 1}])
    validation = good.validate()
    reasons = list(validation.rejected["reason"])
    assert sorted(reasons) == ["path.missing", "row.wrong_type", "row.wrong_type"]
    assert validation.summary["rejected"] == 1
    assert_nothing_is_lost(validation)


def test_three_digits_are_labels_where_the_pattern_says_so(good: Dataset) -> None:
    for number in range(5):
        good.image(f"train/crops/x{number}.png", 100 + number)
    good.lines(TRAIN, [row(f"crops/x{number}.png", "123") for number in range(5)])
    check(good, "accept", set(), label_pattern="[0-9]{0,3}")
