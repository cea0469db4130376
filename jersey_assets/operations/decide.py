"""Decides whether changed annotations need a retraining; the sensor acts on it.

Everything is derived, on each tick, from what is published and from what is known about
the runs: a lost request, a failed run and restored annotations need no special
handling. The cursor holds only what the runs do not show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from jersey_assets.text import count

if TYPE_CHECKING:
    from jersey_assets.annotations.disk.watch import Seen

GROWTH = 4
"""Each wait for the next attempt is this many times as long as the last."""


@dataclass(frozen=True)
class Cursor:
    """What the sensor remembers from tick to tick.

    Attributes:
        fingerprint: the annotations that the last tick saw.
        runs_before: number of the newest run when these were first seen; later runs
            are attempts at these annotations. Numbers grow, whatever the clock does.
        given_up: the annotations that the failed check was reported for, if any.
    """

    fingerprint: str = ""
    runs_before: int = 0
    given_up: str = ""

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """Parses the cursor that a tick left; a new one if it is missing or invalid."""
        try:
            return cls(**json.loads(text or "{}"))
        except (ValueError, TypeError):
            return cls()

    def write(self) -> str:
        """The cursor as text."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Policy:
    """When a retraining is worth it.

    Attributes:
        attempts: runs requested until the same annotations are given up.
        first_wait_s: seconds from a failed run to the next one.
        min_new_rows: how many more rows than the last training read are worth another.
    """

    attempts: int
    first_wait_s: float
    min_new_rows: int


@dataclass(frozen=True)
class Attempt:
    """A run that ended without a usable training.

    Attributes:
        run_id: its id.
        ended: when, in seconds since 1970.
        terminated: whether somebody terminated it.
        broken: the blocking checks that stopped it, with their messages.
    """

    run_id: str
    ended: float = 0.0
    terminated: bool = False
    broken: Mapping[str, str] = field(default_factory=dict)


class History(Protocol):
    """What is known about runs; queried only as far as the decision needs."""

    def newest_run(self) -> int:
        """Number of the newest run, 0 if there is none."""

    def last_read(self) -> tuple[str, bool]:
        """What the published training read, and whether its run succeeded."""

    def under_way(self) -> str:
        """Id of a run that is under way and trains, or may train; empty without one."""

    def asked(self, cursor: Cursor) -> Sequence[Attempt]:
        """Runs that the sensor requested for these annotations, newest first."""

    def last_attempt(self, cursor: Cursor) -> Attempt | None:
        """The newest run, whoever started it, that has read these annotations."""


@dataclass(frozen=True)
class Answer:
    """What the checkpoint's check says about the annotations from now on."""

    message: str
    passed: bool = False
    warning: bool = False


@dataclass(frozen=True)
class Skip:
    """No run, and why; `new` annotations are reported as an observation."""

    why: str
    cursor: Cursor
    new: bool = False
    answer: Answer | None = None


@dataclass(frozen=True)
class Ask:
    """A run for the current annotations."""

    cursor: Cursor


def decide(
    seen: Seen,
    trained_rows: int | None,
    history: History,
    now: float,
    cursor: Cursor,
    policy: Policy,
) -> Skip | Ask:
    """Decides whether to request a training.

    Args:
        seen: the current annotations, one file or more.
        trained_rows: rows that the published training read, None without one.
        history: what is known about runs.
        now: seconds since 1970.
        cursor: what the last tick left.
        policy: when a training is worth it.
    """
    digest = seen.fingerprint.digest
    files = count(seen.fingerprint.files, "annotation file")
    if digest != cursor.fingerprint:
        why = f"{files}, changed since the last tick: waiting for a second look"
        before = history.newest_run()
        cursor = replace(cursor, fingerprint=digest, runs_before=before)
        return Skip(why, cursor, new=True)
    if history.last_read() == (digest, True):
        back = Answer(f"trained on the {files} that are there", passed=True)
        why = f"{files}, the same as the last training read"
        answer = back if cursor.given_up else None
        return Skip(why, replace(cursor, given_up=""), answer=answer)
    if busy := history.under_way():
        return Skip(f"{files} changed; run {busy[:8]} is under way", cursor)
    asked, last = history.asked(cursor), history.last_attempt(cursor)
    if no_use := _no_use(asked, last, policy):
        warning = last is not None and last.terminated  # intended, so not an error
        told = cursor.given_up == digest
        answer = None if told else Answer(no_use, warning=warning)
        return Skip(no_use, replace(cursor, given_up=digest), answer=answer)
    if why := _not_yet(seen, trained_rows, asked, now, policy):
        return Skip(why, cursor)
    return Ask(cursor)


def _no_use(asked: Sequence[Attempt], last: Attempt | None, policy: Policy) -> str:
    """Says why another run would end like the last one; empty if it might not."""
    name = f"run {last.run_id[:8]} for these annotations" if last else ""
    if last and last.terminated:
        return (
            f"{name} was terminated by a person, so the sensor does not start another; "
            "the earlier model stays in use: start `retrain` by hand to train on the "
            "current annotations"
        )
    if last and last.broken:
        return (
            f"{name} stopped at {', '.join(sorted(last.broken))}; repair them, or "
            "start `retrain` by hand if the cause was elsewhere. "
            + " ".join(last.broken.values())
        )
    if len(asked) >= policy.attempts:
        return (
            f"{count(len(asked), 'run has', 'runs have')} failed for these "
            f"annotations, the last one was {asked[0].run_id[:8]}; find out why and "
            "start `retrain`"
        )
    return ""


def _not_yet(
    seen: Seen,
    trained_rows: int | None,
    asked: Sequence[Attempt],
    now: float,
    policy: Policy,
) -> str:
    """Says what a run waits for: time after a failure, or more rows."""
    if asked:
        wait = policy.first_wait_s * GROWTH ** (len(asked) - 1)
        elapsed = now - asked[0].ended
        # A clock that was set back must not cause a wait of years.
        if abs(elapsed) < wait:
            left = f"{wait - elapsed:.0f} s"
            return f"attempt {len(asked)} has failed; the next one is due in {left}"
        # A requested run may have published its training before it failed.
        return ""
    new, wanted = seen.rows - (trained_rows or 0), policy.min_new_rows
    if wanted and trained_rows is not None and new < wanted:
        return f"{count(new, 'new row')}; waiting for {wanted}"
    return ""
