"""Stores the checks' answers about an artifact: `<root>/<asset>/<version>.checks.json`.

The file is beside the version folder, whose files never change. It is replaced as a
whole each time the checks run, and removed when its version is pruned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic.dataclasses import dataclass

from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.manifest import Artifact
from jersey_assets.storage.retention import CHECKS
from jersey_assets.storage.store import Store
from jersey_assets.verdict import BLOCKING, Verdict


@dataclass(frozen=True, config={"strict": True, "extra": "forbid"})
class Answer:
    """The result of one check.

    Attributes:
        name: the check's.
        passed: whether the check passed.
        message: what was seen and what was expected.
        severity: `warning` stops nothing, blocking or not.
        blocking: whether the check stops what depends on the asset.
    """

    name: str
    passed: bool
    message: str
    severity: Literal["error", "warning"]
    blocking: bool


def write_answers(
    store: Store, artifact: Artifact, verdicts: Iterable[Verdict]
) -> None:
    """Stores the answers of an artifact's checks, in place of earlier ones.

    Args:
        store: holds the artifact.
        artifact: what was judged.
        verdicts: of all checks of the asset that have run; two runs of the checks at
            the same time leave the answers of one of them, never some of each.

    Raises:
        StorageError: the store cannot be written.
        ValueError: two verdicts have the same name.
    """
    blocking = BLOCKING.get(artifact.asset, ())
    checks: dict[str, dict[str, object]] = {}
    for said in verdicts:
        if said.name in checks:
            raise ValueError(f"{artifact.asset} has two answers of {said.name}")
        checks[said.name] = {
            "passed": said.passed,
            "message": said.message,
            "severity": said.severity,
            "blocking": said.name in blocking,
        }
    note = {"digest": artifact.digest, "checks": checks}
    store.write_note(artifact.asset, f"{artifact.version}{CHECKS}", note)


def read_answers(store: Store, artifact: Artifact) -> Mapping[str, Answer]:
    """Reads the last answers of an artifact's checks.

    Returns:
        Check's name → answer; empty if none has run on exactly these bytes.

    Raises:
        StorageError: the file cannot be read, or is damaged.
    """
    name = f"{artifact.version}{CHECKS}"
    note = store.read_note(artifact.asset, name)
    if note is None or note.get("digest") != artifact.digest:
        return {}
    try:
        return {
            check: Answer(name=check, **said) for check, said in note["checks"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StorageError(
            f"{artifact.location}{CHECKS} is damaged: it does not hold checks' "
            f"answers; run the checks of {artifact.asset} again"
        ) from error
