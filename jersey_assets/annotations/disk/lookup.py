"""Looks up the image files that rows name, and reports the missing ones.

Nothing but folders is opened here: links are followed by name, and a file's kind and
signature come from `stat`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jersey_assets.annotations.disk.confined import open_folder, resolve, signature
from jersey_assets.annotations.disk.errors import PathError, not_regular, path_error
from jersey_assets.annotations.images.measure import SIGNATURE
from jersey_assets.annotations.progress import Progress

_NOTHING = (0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Found:
    """The files behind image paths, in the order of the paths.

    Attributes:
        real: path after links are resolved, relative to the root; None for a fault.
        signatures: int64 [n, 5], from `stat`, in the order of `SIGNATURE`.
        faults: reason and message by position.
    """

    real: list[str | None]
    signatures: NDArray[np.int64]
    faults: dict[int, tuple[str, str]]


def look_up(root: str, paths: Sequence[str], progress: Progress) -> Found:
    """Find the real files behind paths relative to the (real) root."""
    real: list[str | None] = [None] * len(paths)
    signatures = [_NOTHING] * len(paths)
    faults: dict[int, tuple[str, str]] = {}
    folders: dict[str, list[int]] = {}
    for position, path in enumerate(paths):
        folders.setdefault(path.rpartition("/")[0], []).append(position)
    done = 0
    for parent, positions in folders.items():
        with _Folder(root, parent) as folder:
            for position in positions:
                try:
                    real[position], status = folder.look_up(paths[position])
                except PathError as error:
                    faults[position] = error.reason, str(error)
                else:
                    signatures[position] = signature(status)
        done += len(positions)
        progress.say(f"looking up images: {done:,} of {len(paths):,}")
    table = np.array(signatures, np.int64).reshape(-1, len(SIGNATURE))
    return Found(real, table, faults)


class _Folder:
    """One folder that holds images, resolved and opened once."""

    def __init__(self, root: str, parent: str) -> None:
        self._root = root
        self._error: PathError | None = None
        self._names: dict[str, str] | None = None
        self._descriptor = -1
        self._prefix = ""
        try:
            self._real = resolve(root, parent)
            self._descriptor = open_folder(root, self._real)
            self._prefix = "" if self._real == "." else f"{self._real}/"
        except PathError as error:
            self._error = error
        except OSError as error:
            self._error = path_error(error)

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def look_up(self, path: str) -> tuple[str, os.stat_result]:
        """Find one file; raises PathError."""
        if self._error:
            raise self._error
        name = path.rpartition("/")[2]
        try:
            if name == "..":
                raise not_regular(stat.S_IFDIR)
            status = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                return self._prefix + name, status
            real = self._prefix + name
            if stat.S_ISLNK(status.st_mode):
                real = resolve(self._root, path)
                status = os.lstat(os.path.join(self._root, real))
        except OSError as error:
            raise self._with_hint(path_error(error), name) from error
        if not stat.S_ISREG(status.st_mode):
            raise not_regular(status.st_mode)
        return real, status

    def _with_hint(self, error: PathError, name: str) -> PathError:
        """Suggest the file whose name differs only in upper and lower case, if any."""
        if error.reason != "path.missing":
            return error
        if self._names is None:
            self._names = {
                entry.casefold(): entry for entry in os.listdir(self._descriptor)
            }
        other = self._names.get(name.casefold())
        hint = f"; did you mean {other}?" if other not in (None, name) else ""
        return PathError(error.reason, f"{error}{hint}")
