"""The checks of parity_report: logits, top-1 and independence of the batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jersey_assets.text import count
from jersey_assets.verdict import Verdict


def verdicts(report: Mapping[str, Any]) -> list[Verdict]:
    """Judges a report of `comparison.compare`.

    Returns:
        logits_within_tolerance, top1_agrees, batch_independent.
    """
    return [_judge_logits(report), _judge_top1(report), _judge_batches(report)]


def largest_error(report: Mapping[str, Any]) -> float | None:
    """The largest error over all crops, batch sizes and graph optimizations."""
    compared = (*report["per_batch_size"], *report["per_optimization"])
    return _worst([row["max_abs_error"] for row in (report, *compared)])


def _judge_logits(report: Mapping[str, Any]) -> Verdict:
    tolerance, largest = report["tolerance"], largest_error(report)
    strange = [
        row
        for row in report["probes"]
        if not _at_most([row["max_abs_error"]], row["tolerance"])
    ]
    message = (
        f"largest error {_say(largest)} over {count(report['images'], 'crop')}, every "
        "batch size, and graph optimizations on and off; allowed is "
        f"{_say(tolerance)}, {report['tolerance_reason']}"
    )
    for row in strange:
        message += (
            f"; on {row['kind']} it is {_say(row['max_abs_error'])}, allowed "
            f"{_say(row['tolerance'])}"
        )
    return Verdict(
        "logits_within_tolerance",
        passed=_at_most([largest], tolerance) and not strange,
        message=message,
        facts={"max_abs_error": largest, "tolerance": tolerance},
    )


def _judge_top1(report: Mapping[str, Any]) -> Verdict:
    """A tie within twice the tolerance may go either way and is not a disagreement."""
    tolerance, found = report["tolerance"], report["disagreements"]
    message = (
        f"top-1 agrees on {report['top1_agreement']:.2%} of "
        f"{count(report['images'], 'crop')}; "
        f"accuracy {report['onnx_top1']:.2%} in onnxruntime, "
        f"{report['torch_top1']:.2%} in PyTorch"
    )
    for case in found[:3]:
        message += (
            f"; {case['image']}: {case['onnx']!r} instead of {case['torch']!r}, "
            f"margin {_say(case['margin'])}"
        )
    tie = None if tolerance is None else 2 * tolerance
    ties = _at_most((case["margin"] for case in found), tie)
    return Verdict(
        "top1_agrees",
        passed=ties,
        message=message,
        facts={"top1_agreement": report["top1_agreement"], "disagreements": len(found)},
    )


def _judge_batches(report: Mapping[str, Any]) -> Verdict:
    tolerance = report["tolerance"]
    changes = [row["max_change"] for row in report["per_batch_size"]]
    sizes = ", ".join(str(row["batch_size"]) for row in report["per_batch_size"])
    return Verdict(
        "batch_independent",
        passed=_at_most(changes, tolerance),
        message=f"rows change by at most {_say(_worst(changes))} between batches of "
        f"{sizes}; allowed is {_say(tolerance)}",
        facts={"max_change": _worst(changes), "tolerance": tolerance},
    )


def _at_most(values: Iterable[float | None], limit: float | None) -> bool:
    """Whether all values are within the limit; null is not."""
    return limit is not None and all(v is not None and v <= limit for v in values)


def _worst(values: list[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return max(numbers) if numbers and len(numbers) == len(values) else None


def _say(number: float | None) -> str:
    return "not a number" if number is None else f"{number:.3g}"
