"""batch_axis_is_dynamic: every batch size runs, and rows do not affect each other.

A graph can declare `batch` and be fixed at 1 inside, or look at a picture's neighbours.
"""

from __future__ import annotations

import numpy as np

from jersey_assets.export.contract.judging import judge
from jersey_assets.export.contract.observation import Observation
from jersey_assets.export.contract.questions import ROWS, Question, batches_of
from jersey_assets.export.tolerance import (
    RELATIVE_ROUNDING,
    Numbers,
    largest_error,
    within,
)
from jersey_assets.verdict import Verdict


def judge_batches(seen: Observation) -> Verdict:
    """Judges the answers in batches of every size, order and composition."""
    return judge(
        "batch_axis_is_dynamic", batch_faults(seen), lambda: batch_praise(seen)
    )


def batch_faults(seen: Observation) -> list[str]:
    """Questions without an answer, or whose answer differs from all in one batch."""
    asked = seen.asked()
    if not asked:
        return seen.unanswered()
    faults = _symbol_faults(seen)
    together = seen.answers.get(batches_of(ROWS))
    unanswered = {}
    for name, question in asked.items():
        answer = seen.answers.get(name)
        if answer is None:
            unanswered[name] = seen.errors.get(name, "there is no answer")
        elif together is not None:
            faults += _row_faults(together, answer, question, name)
    if unanswered:
        reason = next(iter(unanswered.values()))
        faults.append(f"it fails at {', '.join(unanswered)}: {reason}")
    return faults


def batch_praise(seen: Observation) -> str:
    """What was seen of a batch axis without a fault."""
    sizes = {question.size for question in seen.asked().values()}
    return (
        f"batches of {', '.join(map(str, sorted(sizes)))} give one row per image; each "
        "row is the same in any order, beside any other images and alone"
    )


def _symbol_faults(seen: Observation) -> list[str]:
    if len(seen.inputs) != 1 or len(seen.outputs) != 1:
        return []
    first, last = (v[0][2][:1] for v in (seen.inputs, seen.outputs))
    if first != last or not all(isinstance(s, str) and s for s in (*first, *last)):
        return [
            f"the batch axis is declared as {list(first)} for the input and "
            f"{list(last)} for the output; expected one symbol for both"
        ]
    return []


def _row_faults(
    together: Numbers, answer: Numbers, question: Question, name: str
) -> list[str]:
    """Compares an answer with those rows of the batch of all; NaN rows left out."""
    kept = np.delete(np.arange(len(question.rows)), list(question.nan))
    expected = together[question.rows[kept]]
    if answer.shape[1:] != expected.shape[1:]:
        return [f"{name}: {answer.shape}; expected {expected.shape[1:]} per row"]
    apart = answer[kept]
    if np.array_equal(expected, apart, equal_nan=True):
        return []
    sound = np.isfinite(together)
    scale = float(np.abs(together[sound]).max()) if sound.any() else 1.0
    if not within(apart, expected, RELATIVE_ROUNDING * scale):
        error = largest_error(apart, expected)
        return [
            f"rows change by up to {error:.3g} in {name} instead of {ROWS}: they "
            "depend on other rows"
        ]
    return []
