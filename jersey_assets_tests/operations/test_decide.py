"""The decision to retrain, case by case."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from jersey_assets.annotations.disk.fingerprint import Fingerprint
from jersey_assets.annotations.disk.watch import Seen
from jersey_assets.operations.decide import (
    Answer,
    Ask,
    Attempt,
    Cursor,
    Policy,
    Skip,
    decide,
)

NOW = 1_000_000.0
SEEN = Seen(Fingerprint("new", 3, 90), rows=60)
CURSOR = Cursor("new", runs_before=7)
POLICY = Policy(attempts=3, first_wait_s=60, min_new_rows=0)
FAILED = Attempt("run-failed", NOW - 1)


@dataclass(frozen=True)
class Known:
    """A history, written down."""

    read: tuple[str, bool] = ("old", True)
    busy: str = ""
    attempts: Sequence[Attempt] = field(default_factory=tuple)
    last: Attempt | None = None

    def newest_run(self) -> int:
        return 9

    def last_read(self) -> tuple[str, bool]:
        return self.read

    def under_way(self) -> str:
        return self.busy

    def asked(self, cursor: Cursor) -> Sequence[Attempt]:
        return self.attempts if cursor.runs_before == 7 else ()

    def last_attempt(self, cursor: Cursor) -> Attempt | None:
        return self.last


def ended(seconds_ago: float, number: int = 1) -> Known:
    """So many attempts, the last of which ended then."""
    return Known(attempts=[Attempt("run-ended", NOW - seconds_ago)] * number)


TERMINATED = Attempt("run-stopped", NOW, terminated=True)
BROKEN = Attempt("broken-run", NOW, broken={"b": "Two rows.", "a": "One row."})


@pytest.mark.parametrize("cursor", [CURSOR, Cursor("new", 7, given_up="other")])
@pytest.mark.parametrize(
    "history",
    [
        Known(),
        Known(read=("", False)),  # nothing is trained
        Known(read=("new", False)),  # trained, and failed after that
        ended(61),
        ended(241, number=2),
        ended(-1e9),  # a clock that was set back
        Known(last=FAILED),  # a run by hand
    ],
)
def test_a_run_is_asked_for(history: Known, cursor: Cursor) -> None:
    assert decide(SEEN, 50, history, NOW, cursor, POLICY) == Ask(cursor)


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (Known(busy="0123456789"), "3 annotation files changed; run 01234567 is under"),
        (ended(10), "attempt 1 has failed; the next one is due in 50 s"),
        (ended(10, number=2), "attempt 2 has failed; the next one is due in 230 s"),
    ],
)
def test_a_run_is_waited_for_and_nothing_is_remembered(
    history: Known, why: str
) -> None:
    decided = decide(SEEN, 50, history, NOW, CURSOR, POLICY)
    assert isinstance(decided, Skip)
    assert decided.why.startswith(why)
    assert decided == Skip(decided.why, CURSOR)


@pytest.mark.parametrize(
    ("history", "why", "warning"),
    [
        (Known(last=TERMINATED), "run run-stop for these annotations was term", True),
        (
            Known(last=BROKEN),
            "run broken-r for these annotations stopped at a, b",
            False,
        ),
        (ended(999_999, number=3), "3 runs have failed for these annotations", False),
    ],
)
def test_annotations_are_given_up_and_that_is_told_once(
    history: Known, why: str, warning: bool
) -> None:
    decided = decide(SEEN, 50, history, NOW, CURSOR, POLICY)
    assert isinstance(decided, Skip)
    assert decided.why.startswith(why)
    assert decided.cursor == Cursor("new", 7, given_up="new")
    assert decided.answer == Answer(decided.why, warning=warning)
    again = decide(SEEN, 50, history, NOW, decided.cursor, POLICY)
    assert again == Skip(decided.why, decided.cursor)


def test_new_annotations_get_a_second_look_and_their_own_attempts() -> None:
    before = Cursor("old", 7, given_up="old")
    decided = decide(SEEN, 50, ended(0, number=3), NOW, before, POLICY)
    assert isinstance(decided, Skip)
    assert decided.new
    assert decided.cursor == Cursor("new", 9, given_up="old")
    assert decide(SEEN, 50, ended(0), NOW, decided.cursor, POLICY) == Ask(
        decided.cursor
    )


def test_what_was_given_up_passes_again_when_it_is_put_back() -> None:
    history, said = Known(read=("new", True), last=TERMINATED), "trained on the 3"
    decided = decide(SEEN, 50, history, NOW, Cursor("new", 7, "other"), POLICY)
    assert isinstance(decided, Skip)
    assert decided.cursor == CURSOR
    assert decided.answer is not None
    assert decided.answer.passed
    assert decided.answer.message.startswith(said)
    quiet = decide(SEEN, 50, history, NOW, CURSOR, POLICY)
    assert quiet == Skip(
        "3 annotation files, the same as the last training read", CURSOR
    )


@pytest.mark.parametrize(
    ("trained_rows", "wanted", "attempts", "asks"),
    [
        (51, 10, 0, False),
        (50, 10, 0, True),
        (None, 10, 0, True),
        (60, 10, 1, True),
        (61, 0, 0, True),  # fewer rows are a change as well
    ],
)
def test_new_rows_are_counted_from_the_last_training(
    trained_rows: int | None, wanted: int, attempts: int, asks: bool
) -> None:
    policy, history = Policy(3, 0, wanted), ended(1, attempts)
    decided = decide(SEEN, trained_rows, history, NOW, CURSOR, policy)
    if asks:
        assert decided == Ask(CURSOR)
    else:
        assert decided == Skip("9 new rows; waiting for 10", CURSOR)


def test_a_cursor_is_read_back_and_another_form_is_a_fresh_one() -> None:
    assert Cursor.read(CURSOR.write()) == CURSOR
    for text in (None, "", "[]", '{"requests": 3}', "{"):
        assert Cursor.read(text) == Cursor()


def test_the_decision_needs_no_dagster() -> None:
    code = (
        "import sys, jersey_assets.operations.decide; print('dagster' in sys.modules)"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed == "False\n"
