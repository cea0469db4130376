"""Verdicts, budgets and outcomes agree with each other and with the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from jersey_assets.annotations.checks import verdicts
from jersey_assets.annotations.result import Validation, read_validation
from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate
from jersey_assets.verdict import Verdict
from jersey_assets_tests.annotations.conftest import Dataset, row

NAMES = [
    "rejected_rows_within_budget",
    "no_conflicting_labels",
    "labels_known_in_train",
    "no_split_leakage",
    "every_split_has_rows",
    "enough_images_per_class",
    "class_imbalance",
]
TRAIN = "train/annotations.jsonl"


def judged(data: Dataset, **rules: object) -> tuple[Validation, dict[str, Verdict]]:
    validation = data.validate(**rules)
    found = verdicts(validation, Rules(**rules))  # type: ignore[arg-type]
    broken = any(not v.passed and v.severity == "error" for v in found)
    assert broken == (validation.summary["outcome"] == "reject")
    return validation, {verdict.name: verdict for verdict in found}


def test_promises_are_named_and_weighted_as_the_checks_are(good: Dataset) -> None:
    _, found = judged(good)
    assert list(found) == NAMES
    assert all(verdict.passed for verdict in found.values())
    assert [v.name for v in found.values() if v.severity == "warning"] == NAMES[-2:]


@pytest.mark.parametrize(("bad", "passed"), [(5, True), (6, False)])
def test_five_rows_may_always_be_set_aside(
    good: Dataset, bad: int, passed: bool
) -> None:
    good.lines(TRAIN, [row(f"none{n}.png", "7") for n in range(bad)])
    _, found = judged(good)
    verdict = found["rejected_rows_within_budget"]
    assert verdict.passed == passed
    assert f"{TRAIN}:13" in verdict.message
    assert verdict.facts["rejected"] == bad


def test_the_share_is_of_all_rows_read(good: Dataset) -> None:
    good.lines(TRAIN, [row(f"none{n}.png", "7") for n in range(20)])
    _, found = judged(good, rejected_budget=0.5)
    assert found["rejected_rows_within_budget"].passed
    _, found = judged(good, rejected_budget=0.49)
    assert not found["rejected_rows_within_budget"].passed


@pytest.mark.parametrize(("images", "passed"), [(2, True), (3, False)])
def test_conflicts_have_a_budget_of_rows(
    good: Dataset, images: int, passed: bool
) -> None:
    good.lines(TRAIN, [row(f"crops/{2 * n}.png", "23") for n in range(images)])
    _, found = judged(good)
    verdict = found["no_conflicting_labels"]
    assert verdict.passed == passed
    assert verdict.facts["rows"] == 2 * images
    assert f"{TRAIN}:1:" in verdict.message


def test_conflicts_that_the_policy_resolved_are_no_faults(good: Dataset) -> None:
    good.lines(TRAIN, [row(f"crops/{n}.png", "") for n in range(12)])
    validation, found = judged(good, conflict_policy="prefer_number")
    assert validation.summary["outcome"] == "quarantine"
    assert validation.summary["rejected"] == validation.summary["resolved"] == 12
    assert found["no_conflicting_labels"].facts["rows"] == 0
    assert found["no_conflicting_labels"].facts["resolved"] == 12


def test_unknown_labels_have_a_budget(good: Dataset) -> None:
    for number in range(6):
        good.image(f"valid/crops/x{number}.png", 100 + number)
    good.lines(
        "valid/annotations.jsonl", [row(f"crops/x{n}.png", "42") for n in range(6)]
    )
    _, found = judged(good)
    assert not found["labels_known_in_train"].passed
    assert '"42"' in found["labels_known_in_train"].message


def test_leaks_have_a_budget(good: Dataset) -> None:
    good.lines(
        "test/annotations.jsonl",
        [row(f"../train/crops/{n}.png", ("7", "23")[n % 2]) for n in range(6)],
    )
    _, found = judged(good)
    assert not found["no_split_leakage"].passed
    assert "test/annotations.jsonl:5" in found["no_split_leakage"].message


def test_a_faulty_file_breaks_the_budget_alone(good: Dataset) -> None:
    good.bytes("valid/more.jsonl", b"\x1f\x8bgzip")
    _, found = judged(good)
    broken = [name for name, verdict in found.items() if not verdict.passed]
    assert broken == ["rejected_rows_within_budget"]
    assert "valid/more.jsonl" in found["rejected_rows_within_budget"].message


def test_a_missing_split_is_one_broken_promise(good: Dataset) -> None:
    (good.root / "valid").rename(good.root / "nothing")
    _, found = judged(good)
    broken = [name for name, verdict in found.items() if not verdict.passed]
    assert broken == ["every_split_has_rows"]


def test_test_is_optional(good: Dataset) -> None:
    (good.root / "test").rename(good.root / "nothing")
    validation, found = judged(good)
    assert found["every_split_has_rows"].passed
    assert validation.summary["outcome"] == "accept"


def test_an_empty_root_is_rejected_with_both_splits_named(tmp_path: Path) -> None:
    validation, found = judged(Dataset(tmp_path))
    assert set(validation.summary["reasons"]) == {
        "dataset.no_train",
        "dataset.no_valid",
    }
    assert not found["every_split_has_rows"].passed


def test_imbalance_and_rare_classes_only_warn(good: Dataset) -> None:
    for number in range(60):
        good.image(f"train/crops/x{number}.png", 100 + number)
    rows = [row(f"crops/x{n}.png", "5") for n in range(59)] + [
        row("crops/x59.png", "6")
    ]
    good.lines(TRAIN, rows)
    validation, found = judged(good)
    assert validation.summary["outcome"] == "accept_with_warning"
    assert not found["class_imbalance"].passed
    assert found["class_imbalance"].facts["ratio"] == 59
    assert '"6" 1' in found["enough_images_per_class"].message


def test_what_was_written_reads_back_the_same(good: Dataset, tmp_path: Path) -> None:
    good.lines(
        TRAIN,
        [
            b"{}",
            row("crops/0.png", "23"),
            row("crops/1.png", "23", prefix="Read.", metadata={"a": "é"}),
        ],
    )
    validation = good.validate()
    validation.write_validated(tmp_path)
    validation.write_rejected(tmp_path)
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert names == {
        "annotations.parquet",
        "warnings.parquet",
        "summary.json",
        "rejected.parquet",
    }
    read = read_validation(tmp_path, tmp_path)
    assert read.digest == validation.digest
    assert read.summary == validation.summary
    assert verdicts(read, Rules()) == verdicts(validation, Rules())


def test_the_digest_repeats_and_sees_each_change(good: Dataset) -> None:
    first = good.validate().digest
    assert good.validate().digest == first
    seen = {first, good.validate(rejected_budget=0.2).digest}
    good.lines(TRAIN, [b"{}"])
    seen.add(good.validate().digest)
    good.image("valid/crops/0.png", 77)
    seen.add(good.validate().digest)
    assert len(seen) == 4


def test_tables_have_the_promised_columns_and_order(good: Dataset) -> None:
    good.lines("valid/annotations.jsonl", [b"{}", row("crops/0.png", "7")])
    good.lines(TRAIN, [b"{}"])
    good.lines("train/a.jsonl", [b"{}"])
    validation = good.validate()
    assert list(validation.validated.columns) == [
        "split",
        "image",
        "label",
        "file",
        "line",
        "prefix",
        "metadata",
        "width",
        "height",
        "image_sha256",
        "pixel_hash",
        "dhash",
    ]
    rejected = validation.rejected
    assert list(rejected.columns) == list(validation.warnings.columns)
    places = list(dict.fromkeys(zip(rejected["file"], rejected["line"], strict=True)))
    assert places == [
        ("train/a.jsonl", 1),
        (TRAIN, 13),
        ("valid/annotations.jsonl", 5),
    ]
    assert list(validation.validated["split"].unique()) == ["train", "valid", "test"]
    first = validation.validated.iloc[0]
    assert (first["width"], first["height"]) == (24, 32)


def test_progress_is_heard_at_a_bounded_rate(
    good: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jersey_assets.annotations.progress.SECONDS_BETWEEN", 0.0)
    heard: list[str] = []
    validate(good.root, Rules(), heard.append)
    assert any("reading train/annotations.jsonl" in message for message in heard)
    assert any("images" in message for message in heard)
    monkeypatch.setattr("jersey_assets.annotations.progress.SECONDS_BETWEEN", 60.0)
    heard.clear()
    validate(good.root, Rules(), heard.append)
    assert heard == []


def test_copies_with_two_labels_count_as_conflicts(good: Dataset) -> None:
    for n in range(6):
        data = (good.root / f"train/crops/{n}.png").read_bytes()
        good.image(f"train/crops/copy{n}.png", data)
        good.lines(TRAIN, [row(f"crops/copy{n}.png", "99")])
    _, found = judged(good)
    verdict = found["no_conflicting_labels"]
    assert verdict.facts["rows"] == 12
    assert not verdict.passed
