"""Checks that all blocking checks passed on exactly the artifacts to release.

A blocking check stops only its own run: materializing a later asset in a separate run
would bypass it.
"""

from __future__ import annotations

from collections.abc import Iterable

from jersey_assets.storage.answers import Answer, read_answers
from jersey_assets.storage.manifest import Artifact
from jersey_assets.storage.store import Store
from jersey_assets.text import readable
from jersey_assets.verdict import BLOCKING


def unkept_promises(store: Store, artifacts: Iterable[Artifact]) -> list[str]:
    """Lists the blocking checks that failed, or have not run, on these artifacts.

    Args:
        store: holds the artifacts and the answers of their checks.
        artifacts: to release.

    Returns:
        A line each: the check, its asset, and what the check said.

    Raises:
        StorageError: the answers of an artifact's checks cannot be read.
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
