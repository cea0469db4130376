"""Records which dataset an artifact root belongs to, and refuses others.

A root holds artifacts of one dataset: a model trained on another one would be compared
with, and published over, unrelated models. The first dataset that is used with a root
is recorded in its `dataset.json`; another one is refused until somebody hands the root
over (`adopt`), also after moving a dataset.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.lock import one_at_a_time
from jersey_assets.storage.mirror import Mirror
from jersey_assets.storage.roots import local_path
from jersey_assets.storage.store import Store
from jersey_assets.text import readable

SAMPLE = Path("data/sample")
"""The default dataset, below the working directory."""

_NOTE = "dataset.json"


class OwnerError(StorageError):
    """The artifact root belongs to another dataset."""


@dataclass(frozen=True)
class DatasetRoot:
    """Where a dataset is.

    Attributes:
        root: a folder, or an fsspec URL of one, as it was given.
    """

    root: str

    @property
    def path(self) -> Path:
        """The dataset root on this machine."""
        local = local_path(self.root)
        return Mirror(self.root).folder if local is None else local

    @property
    def mirror(self) -> Mirror | None:
        """Keeps a copy on this machine, if the root is a remote URL."""
        return Mirror(self.root) if local_path(self.root) is None else None

    @property
    def identity(self) -> str:
        """The same for every spelling: an absolute path without links, or a URL."""
        if self.mirror is not None:
            return self.root.rstrip("/")
        return str(self.path.resolve())

    @property
    def name(self) -> str:
        """Its name for people: the last part of its path or URL."""
        return self.identity.rsplit("/", 1)[-1] or self.identity


def dataset_in_use(store: Store, given: str) -> DatasetRoot:
    """Returns the given dataset, or else the root's own, or else the sample.

    Raises:
        StorageError: the root's own dataset cannot be read.
    """
    if given:
        return DatasetRoot(given)
    return owner(store) or DatasetRoot(str(SAMPLE.absolute()))


def owner(store: Store) -> DatasetRoot | None:
    """Returns the dataset that the root belongs to, or None if there is none yet.

    Raises:
        StorageError: `dataset.json` cannot be read, or is damaged.
    """
    note = store.read_note("", _NOTE)
    if note is None:
        return None
    identity = note.get("identity")
    if not isinstance(identity, str):
        raise StorageError(
            f"{store.root}/{_NOTE} is damaged: it names no dataset; set it with "
            "jersey-assets adopt DATASET"
        )
    return DatasetRoot(identity)


def refuse_other(store: Store, dataset: DatasetRoot) -> None:
    """Raises OwnerError if the root belongs to another dataset."""
    known = owner(store)
    if known is not None and known.identity != dataset.identity:
        raise OwnerError(
            readable(
                f"{store.root} belongs to the dataset {known.identity}, and "
                f"{dataset.identity} is another one: choose another artifact root "
                "(JERSEY_ARTIFACT_ROOT=FOLDER), or hand this one over: "
                f"jersey-assets adopt {shlex.quote(dataset.identity)}"
            )
        )


def claim(store: Store, dataset: DatasetRoot) -> None:
    """Assigns a root without an owner to the dataset.

    Raises:
        OwnerError: it belongs to another dataset.
        StorageError: `dataset.json` cannot be read or written.
    """
    if owner(store) is None:
        with one_at_a_time(store.scratch() / "dataset.lock", dataset.identity):
            if owner(store) is None:
                adopt(store, dataset)
    refuse_other(store, dataset)


def adopt(store: Store, dataset: DatasetRoot) -> None:
    """Assigns a root to the dataset, whatever its owner was.

    Raises:
        StorageError: `dataset.json` cannot be written.
    """
    note = {"name": dataset.name, "identity": dataset.identity}
    store.write_note("", _NOTE, note)
