"""Keeps a local copy of a dataset at an fsspec URL.

A file is fetched again if the listing shows that it has changed: by its ETag, checksum,
generation, size and times, whichever the driver reports. If it reports only a size, the
file is fetched each time, so that no change is missed.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from jersey_assets.files import remove_partial, replace_file, sync
from jersey_assets.storage.lock import one_at_a_time
from jersey_assets.storage.roots import cached_for
from jersey_assets.text import count

_BATCH = 256
_SIZES = ("size", "Size")
_MARKS = (
    *("ETag", "etag", "e_tag", "md5Hash", "content_md5", "checksum", "crc32c"),
    *("generation", "VersionId", "version_id", "LastModified", "last_modified"),
    *("updated", "mtime", "modified", "modify", "created"),
)


class MirrorError(RuntimeError):
    """The URL cannot be read now, or is not a folder of files; the message says why."""


@dataclass(frozen=True)
class Mirror:
    """One URL and its copy.

    Attributes:
        url: of a folder, as fsspec writes it; its driver is installed.
    """

    url: str

    @property
    def folder(self) -> Path:
        """Where the copy is: in the user's cache folder, which nobody else can read."""
        return self._home / "files"

    def refresh(
        self,
        only: str = "*",
        budget_bytes: int | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Updates the copy to what the URL holds now.

        Args:
            only: pattern of the file names to update; others stay as they are.
            budget_bytes: how much one call may fetch.
            say: called with a line of progress every few hundred files.

        Raises:
            MirrorError: the URL does not answer, has a name that cannot be a file's
                here, or more than the budget remains to be fetched.
        """
        with one_at_a_time(self._home / "lock", f"a copy of {self.url}"):
            self.folder.mkdir(exist_ok=True)
            remove_partial(self._home)
            there = self._listed(only)
            here = self._noted()
            gone = here.keys() - there.keys()
            for name in [name for name in gone if fnmatch(name, only)]:
                self._remove(name)
                del here[name]
            wanted = [
                name
                for name, entry in there.items()
                if _marks(entry) is None
                or here.get(name) != _marks(entry)
                or not self._is_whole(name, entry)
            ]
            now = self._within(wanted, there, budget_bytes)
            for start in range(0, len(now), _BATCH):
                batch = now[start : start + _BATCH]
                self._fetch(batch, there)
                here |= {name: _marks(there[name]) for name in batch}
                self._note(here)
                say(f"fetched {start + len(batch):,} of {count(len(wanted), 'file')}")
            self._note(here)
            if left := len(wanted) - len(now):
                raise MirrorError(
                    f"{left:,} of {len(there):,} files of {self.url} are still to be "
                    f"fetched, {budget_bytes:,} bytes at a time"
                )

    @cached_property
    def _home(self) -> Path:
        return cached_for("datasets", self.url)

    def _local(self, name: str) -> Path:
        return self.folder / name

    def _remove(self, name: str) -> None:
        # A former file may have become a folder of others.
        with suppress(IsADirectoryError, NotADirectoryError):
            self._local(name).unlink(missing_ok=True)

    def _is_whole(self, name: str, entry: Mapping[str, Any]) -> bool:
        try:
            there = self._local(name).lstat()
        except OSError:
            return False
        size = entry.get("size")
        return stat.S_ISREG(there.st_mode) and size in (None, there.st_size)

    def _located(self) -> tuple[Any, str]:
        try:
            import fsspec

            fs, base = fsspec.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise MirrorError(f"{self.url}: {error}") from error
        return fs, base.rstrip("/")

    def _listed(self, only: str) -> dict[str, Mapping[str, Any]]:
        fs, base = self._located()
        try:
            fs.invalidate_cache()
            found = fs.find(base, detail=True)
        except Exception as error:  # every driver raises what its service raises
            raise MirrorError(
                f"{self.url} cannot be listed: {type(error).__name__}: {error}"
            ) from error
        names = {
            path[len(base) :].lstrip("/"): path
            for path, entry in found.items()
            # Consoles of object stores create a folder as an empty object.
            if entry.get("size") or not path.endswith("/")
        }
        if not any(names):
            raise MirrorError(f"{self.url} holds no files, or does not exist")
        for name in names:
            if set(name.split("/")) & {"", ".", ".."} or "\0" in name:
                raise MirrorError(
                    f"{self.url} holds a file named {name!r}, which is not a path "
                    "inside a folder: rename it"
                )
        return {
            name: found[path] for name, path in names.items() if fnmatch(name, only)
        }

    def _noted(self) -> dict[str, Any]:
        try:
            noted = json.loads((self._home / "fetched.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def _note(self, here: Mapping[str, Any]) -> None:
        replace_file(self._home / "fetched.json", json.dumps(here).encode())

    def _fetch(self, names: list[str], there: Mapping[str, Mapping[str, Any]]) -> None:
        """Fetches beside the copy, then puts each file in its place in one step."""
        fs, _ = self._located()
        partial = self._home / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        parts = [partial / str(place) for place in range(len(names))]
        try:
            # Drivers of object stores fetch a list at once, others one by one.
            fs.get([there[name]["name"] for name in names], list(map(str, parts)))
            for name, part in zip(names, parts, strict=True):
                size = there[name].get("size")
                if size not in (None, part.stat().st_size):
                    raise OSError(f"{name} is incomplete, or has just changed")
                sync(part)
                self._make_way(name)
                os.replace(part, self._local(name))
        except Exception as error:
            which = f"{names[0]} and {len(names) - 1} more" if names[1:] else names[0]
            raise MirrorError(
                f"{self.url}: {which} cannot be fetched: "
                f"{type(error).__name__}: {error}"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _within(
        self,
        names: list[str],
        there: Mapping[str, Mapping[str, Any]],
        budget_bytes: int | None,
    ) -> list[str]:
        """Returns the first files that fit the budget together; at least one."""
        if budget_bytes is None:
            return names
        used = 0
        for place, name in enumerate(names):
            used += int(there[name].get("size") or 0)
            if used <= budget_bytes:
                continue
            if place == 0:
                raise MirrorError(
                    f"{self.url}/{name} has {used:,} bytes; at most {budget_bytes:,} "
                    "are fetched to look at it"
                )
            return names[:place]
        return names

    def _make_way(self, name: str) -> None:
        """Removes a file where a folder is needed, or a folder where a file is."""
        target = self._local(name)
        if target.is_dir():
            shutil.rmtree(target)
        for parent in target.relative_to(self.folder).parents:
            if (self.folder / parent).is_file():
                (self.folder / parent).unlink()
        target.parent.mkdir(parents=True, exist_ok=True)


def _marks(entry: Mapping[str, Any]) -> dict[str, str] | None:
    """What identifies this version of a file; None if nothing does."""
    marks = {mark: str(entry[mark]) for mark in _MARKS if entry.get(mark) is not None}
    if not marks:
        return None
    return marks | {size: str(entry[size]) for size in _SIZES if size in entry}
