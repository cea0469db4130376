"""The resume folder: saves a training so that the next run can resume it.

    <scratch>/<key>/state.json       what is there, with digests; replaced last
    <scratch>/<key>/resume_000120.ckpt   Lightning's checkpoint at that step
    <scratch>/<key>/epoch_003.ckpt   weights of an epoch that is among the best

The key digests the plan and the code: a training resumes only from its own folder.
Files are written under new names and synced before `state.json` names them, so a kill
at any moment leaves the old state or the new one, complete.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from jersey_assets.files import explain_write_failure, replace_file, sync
from jersey_assets.storage.code_version import code_version
from jersey_assets.storage.manifest import canonical_json
from jersey_assets.training.plan import Plan
from jersey_assets.training.record import Record

_STATE = "state.json"
_LIFETIME_S = 14 * 24 * 3600
"""How long an interrupted training is kept."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """How far a training has come.

    Attributes:
        record: its record.
        step: optimizer steps so far.
        resume: name of the file to resume from, empty if there is none.
        finished: whether nothing is left to train.
    """

    record: Record = field(default_factory=Record)
    step: int = 0
    resume: str = ""
    finished: bool = False


@dataclass(frozen=True)
class ResumeFolder:
    """The folder of one training, which may not exist yet.

    Attributes:
        path: where its files are.
        identity: digests of what determines the training, by name.
    """

    path: Path
    identity: Mapping[str, str]

    def load(self) -> State:
        """Reads how far the training has come, after checking every file's digest.

        A folder that is damaged is removed, and the log says so.
        """
        if not (self.path / _STATE).exists():
            return State()
        try:
            content = _read(self.path)
            if content["identity"] != dict(self.identity):
                changed = _changed(content["identity"], self.identity)
                raise ValueError(f"it was trained with other {changed}")
            for name, digest in content["files"].items():
                if _digest(self.path / name) != digest:
                    raise ValueError(f"{name} is damaged: its digest differs")
            return TypeAdapter(State).validate_python(content["state"])
        except (OSError, ValueError) as error:
            log.warning(
                "starting from scratch: cannot resume from %s: %s", self.path, error
            )
            shutil.rmtree(self.path)
            return State()

    def save(self, state: State, files: Mapping[str, Callable[[Path], None]]) -> None:
        """Makes this the state to resume from, and removes files that it does not need.

        Args:
            state: how far the training has come.
            files: how to write each file that belongs to it; existing ones are not
                written again.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        known = self._digests()
        digests = {}
        for name, write in files.items():
            path = self.path / name
            if name not in known:
                with explain_write_failure(path):
                    write(path)
                sync(path)
            digests[name] = known.get(name) or _digest(path)
        sync(self.path)
        content: dict[str, Any] = {
            "identity": self.identity,
            "files": digests,
            "state": TypeAdapter(State).dump_python(state, mode="json"),
        }
        content["digest"] = hashlib.sha256(canonical_json(content)).hexdigest()
        replace_file(self.path / _STATE, canonical_json(content))
        for path in self.path.iterdir():
            if path.name not in digests and path.name != _STATE:
                path.unlink()

    def _digests(self) -> dict[str, str]:
        """Returns the digests of the files that belong to the state."""
        if not (self.path / _STATE).exists():
            return {}
        return dict(_read(self.path)["files"])


def resume_folder(scratch: Path, plan: Plan) -> ResumeFolder:
    """Returns the folder of a training in `scratch`."""
    identity = plan.digests() | {"code": code_version("training.fit")}
    key = hashlib.sha256(canonical_json(identity)).hexdigest()[:16]
    _mention_others(scratch, key, identity)
    return ResumeFolder(scratch / key, identity)


def remove_finished(scratch: Path) -> None:
    """Removes the folders of finished trainings, and of old interrupted ones.

    Call it when the results are stored, and while no other training runs.
    """
    for folder in _folders(scratch):
        try:
            done = _read(folder)["state"]["finished"]
        except (OSError, ValueError):
            done = True
        if done or time.time() - folder.stat().st_mtime > _LIFETIME_S:
            shutil.rmtree(folder)


def _mention_others(scratch: Path, key: str, identity: Mapping[str, str]) -> None:
    """Logs why another interrupted training is not resumed."""
    if (scratch / key / _STATE).exists():
        return
    for folder in _folders(scratch):
        try:
            content = _read(folder)
        except (OSError, ValueError):
            continue
        log.info(
            "starting from scratch: the training interrupted at step %d, in %s, used "
            "other %s",
            content["state"]["step"],
            folder,
            _changed(content["identity"], identity),
        )


def _read(folder: Path) -> dict[str, Any]:
    """Reads the content of a folder's `state.json`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what was written.
    """
    content = json.loads((folder / _STATE).read_text("utf-8"))
    digest = content.pop("digest", "") if isinstance(content, dict) else ""
    if hashlib.sha256(canonical_json(content)).hexdigest() != digest:
        raise ValueError(f"{_STATE} is damaged: its digest differs")
    return dict(content)


def _changed(before: Mapping[str, Any], now: Mapping[str, str]) -> str:
    return ", ".join(name for name in now if before.get(name) != now[name])


def _folders(scratch: Path) -> list[Path]:
    return sorted(path for path in scratch.glob("*") if path.is_dir())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
