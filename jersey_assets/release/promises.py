"""Whether the blocking checks passed on the very artifacts that are to be released.

A blocking check stops its own run only: whoever materializes one asset after it, in a
run of its own, goes round it.
"""

from __future__ import annotations

from collections.abc import Iterable

from jersey_assets.storage.answers import Answer, read_answers
from jersey_assets.storage.store import Artifact, Store
from jersey_assets.text import readable
from jersey_assets.verdict import BLOCKING


def unkept_promises(store: Store, artifacts: Iterable[Artifact]) -> list[str]:
    """Lists the blocking checks that failed, or have not run, on these artifacts.

    Args:
        store: holds the artifacts and what was noted about their checks.
        artifacts: what was, or was not, checked.

    Returns:
        A line each: the check, its asset, and what the check said.

    Raises:
        StorageError: the note about an artifact's checks cannot be read.
    """
    unkept: list[str] = []
    for artifact in artifacts:
        answers = read_answers(store, artifact)
        unkept.extend(
            f"{name} of {artifact.asset} {wrong}"
            for name in BLOCKING.get(artifact.asset, ())
            if (wrong := _what_is_wrong(answers.get(name)))
        )
    return unkept


def _what_is_wrong(answer: Answer | None) -> str:
    if answer is None:
        return "has not run on this version"
    if answer.passed or answer.severity == "warning":
        return ""
    return f"failed: {readable(answer.message)}"
