"""A report that is changed in one place fails the right check."""

from __future__ import annotations

import copy
import json
from typing import Any

from jersey_assets.export.parity_checks import verdicts


def failed(report: dict[str, Any]) -> set[str]:
    return {verdict.name for verdict in verdicts(report) if not verdict.passed}


def test_the_report_is_plain_json_and_can_be_judged_again(
    report: dict[str, Any],
) -> None:
    again = json.loads(json.dumps(report, allow_nan=False))
    assert [v.passed for v in verdicts(again)] == [True, True, True]


def test_optimizations_are_compared_on_and_off_over_the_whole_sample(
    report: dict[str, Any],
) -> None:
    on, off = report["per_optimization"]
    assert (on["graph_optimizations"], off["graph_optimizations"]) == ("on", "off")
    assert on["images"] == off["images"] == 40
    changed = copy.deepcopy(report)
    changed["per_optimization"][1]["max_abs_error"] = 0.1
    assert failed(changed) == {"logits_within_tolerance"}


def test_unusual_images_are_compared_with_tolerances_of_their_own(
    report: dict[str, Any],
) -> None:
    kinds = {row["kind"]: row for row in report["probes"]}
    assert len(kinds) == len(report["probes"]) > 1
    assert len({row["tolerance"] for row in kinds.values()}) == len(kinds)
    assert all(row["max_abs_error"] <= row["tolerance"] for row in kinds.values())
    changed = copy.deepcopy(report)
    changed["probes"][2]["max_abs_error"] = None
    assert failed(changed) == {"logits_within_tolerance"}


def test_report_and_check_tell_one_largest_error_over_every_comparison(
    report: dict[str, Any],
) -> None:
    largest = report["max_abs_error"]
    rows = [*report["per_batch_size"], *report["per_optimization"]]
    assert max(row["max_abs_error"] for row in rows) <= largest
    (judged, *_) = verdicts(report)
    assert judged.facts["max_abs_error"] == largest
    assert f"largest error {largest:.3g} over 40 crops, every batch" in judged.message


def test_a_tie_within_the_tolerance_is_no_disagreement(report: dict[str, Any]) -> None:
    tied = copy.deepcopy(report)
    tied["top1_agreement"] = 0.975
    case = {"image": "a.png", "onnx": "1", "torch": "7"}
    tied["disagreements"] = [{**case, "margin": report["tolerance"]}]
    assert "top1_agrees" not in failed(tied)
    tied["disagreements"] = [{**case, "margin": 3 * report["tolerance"]}]
    assert failed(tied) == {"top1_agrees"}


def test_rows_that_change_with_the_batch_size_are_seen(report: dict[str, Any]) -> None:
    changed = copy.deepcopy(report)
    changed["per_batch_size"][2]["max_change"] = 0.1
    assert failed(changed) == {"batch_independent"}
