"""Lines as they stand in a file: `json.*`, and the unusual ones that hold."""

from __future__ import annotations

import json

import pytest

from jersey_assets_tests.annotations.datasets import (
    BAD,
    TRAIN,
    TRAIN_ROWS,
    Dataset,
    check,
    row,
)
from jersey_assets_tests.annotations.lines.hostile import JSON_LINES


@pytest.mark.parametrize(
    ("reason", "name"),
    [(reason, name) for reason, lines in JSON_LINES.items() for name in lines],
)
def test_a_line_that_is_no_annotation_is_set_aside(
    good: Dataset, reason: str, name: str
) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [JSON_LINES[reason][name]])
    check(good, "quarantine", {(TRAIN, BAD, reason)})


@pytest.mark.parametrize(
    "line",
    [
        b'{"image": "crops/x.png", "suffix": "7"}\r',
        b'  {"image": "crops/x.png", "suffix": "7"}\t ',
        b'{"suffix":"7","image":"crops/x.png"}',
        rb'{"image": "crops\/x.png", "suffix": "\u0037"}',
        b'{"image": "crops/x.png", "suffix": "7", "metadata": {}}',
        b'{"image": "crops/x.png", "suffix": "7", "metadata": null, "prefix": null}',
        b'{"image": "crops/x.png", "suffix": "7", "id": 4, "tags": ["a", {"b": 1}]}',
        b'{"image": "crops/x.png", "suffix": "7", "metadata": {"box": [1, 2, 3, 4]}}',
        b'{"image": "crops/x.png", "suffix": "7", "metadata": {"n": 1e400}}'.replace(
            b"1e400", b"1" * 400
        ),
        '{"image": "crops/x.png", "suffix": "7", "prefix": "Zahl: 读"}'.encode(),
        rb'{"image": "crops/x.png", "suffix": "7", "prefix": "\ud83d\ude00 \u003a"}',
    ],
)
def test_unusual_lines_that_hold_are_kept(good: Dataset, line: bytes) -> None:
    good.image("train/crops/x.png", 99)
    good.lines(TRAIN, [line])
    check(good, "accept", set())


def test_blank_lines_are_no_rows_but_count_as_lines(good: Dataset) -> None:
    old = (good.root / TRAIN).read_bytes()
    good.bytes(TRAIN, b"\n \t\r\n" + old + b'\n\r\n{"image": 1, "suffix": "7"}')
    check(good, "quarantine", {(TRAIN, 2 + TRAIN_ROWS + 3, "row.wrong_type")})


def test_a_byte_order_mark_costs_the_first_row(good: Dataset) -> None:
    old = (good.root / TRAIN).read_bytes()
    good.bytes(TRAIN, b"\xef\xbb\xbf" + old)
    check(good, "quarantine", {(TRAIN, 1, "json.encoding")})


def test_a_cut_last_line_costs_that_row_alone(good: Dataset) -> None:
    old = (good.root / TRAIN).read_bytes()
    good.bytes(TRAIN, old[:-10])
    check(good, "quarantine", {(TRAIN, TRAIN_ROWS, "json.syntax")})


def test_a_missing_last_line_feed_costs_nothing(good: Dataset) -> None:
    old = (good.root / TRAIN).read_bytes()
    good.bytes(TRAIN, old.rstrip(b"\n"))
    check(good, "accept", set())


def test_line_separators_inside_strings_do_not_split_lines(good: Dataset) -> None:
    for number, mark in enumerate("\u2028\u2029\x85\x7f"):
        good.image(f"train/crops/x{number}.png", 90 + number)
        line = row(f"crops/x{number}.png", "7", prefix=f"a{mark}b")
        good.lines(TRAIN, [json.dumps(line, ensure_ascii=False).encode()])
    check(good, "accept", set())
