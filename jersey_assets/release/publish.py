"""Publishes a candidate that passes the gate, or keeps the current release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jersey_assets.release.bundle import Candidate, write_bundle
from jersey_assets.release.gate import ReleaseError, decision, judge
from jersey_assets.release.promises import unkept_promises
from jersey_assets.release.releases import one_release_at_a_time, standing_release
from jersey_assets.storage.answers import write_answers
from jersey_assets.storage.manifest import Artifact
from jersey_assets.storage.store import Store
from jersey_assets.verdict import Verdict

Publish = Callable[[Callable[[Path], None]], Artifact]


@dataclass(frozen=True)
class Outcome:
    """What was decided about a candidate.

    Attributes:
        verdicts: the gate's, on the candidate.
        release: the current release now, if there is one.
        decision: what was decided about the candidate, then, after a colon, why.
    """

    verdicts: tuple[Verdict, Verdict]
    release: Artifact | None
    decision: str

    def standing(self) -> Artifact:
        """The current release, which the candidate is or was compared with.

        Raises:
            ReleaseError: there is none, or the candidate proves nothing by itself.
        """
        if self.release is None or not self.verdicts[0].passed:
            raise ReleaseError(self.decision)
        return self.release


def publish_or_keep(
    candidate: Candidate, store: Store, root: Path, run_id: str, publish: Publish
) -> Outcome:
    """Publishes a candidate that passes the gate; otherwise the current release stays.

    One release at a time: a second candidate waits, and is compared with what the
    first one published.

    Args:
        candidate: the artifacts to release.
        store: holds them and the releases.
        root: the dataset root, for the evaluation crops.
        run_id: names this run in the logs of waiting ones.
        publish: stores what it is given to write as the new release.

    Raises:
        ReleaseError: a blocking check of a part did not pass or has not run on this
            version, or the parts do not belong together.
        AnnotationError: a crop has changed since it was validated.
        StorageError: the store cannot be read or written.
    """
    if unkept := unkept_promises(store, candidate.parts()):
        raise ReleaseError(
            f"not released: {'; '.join(unkept)}; materialize the whole chain again"
        )
    with one_release_at_a_time(store, run_id):
        before = after = standing_release(store)
        verdicts = judge(candidate, before, store, root)
        if all(verdict.passed for verdict in verdicts):
            after = publish(lambda folder: write_bundle(candidate, folder))
            write_answers(store, after, verdicts)
    return Outcome(verdicts, after, decision(verdicts, before, after))
