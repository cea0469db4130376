"""The exceptions of a store, and the translation of the system's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What reading a file raises if it does not exist, or no longer exists."""


class StorageError(RuntimeError):
    """An artifact is missing, damaged or cannot be written."""


class UnreadableError(StorageError):
    """A store does not answer now, which says nothing about its content."""


class GoneError(StorageError):
    """A version does not exist, or no longer exists, as a whole."""


@contextmanager
def reading(asset: str, location: str) -> Iterator[None]:
    """Says which version of an asset cannot be read, and why."""
    try:
        yield
    except GONE as error:
        raise GoneError(
            f"{location} is incomplete ({error}); materialize {asset} again"
        ) from error
    except OSError as error:
        raise UnreadableError(f"cannot read {location}: {error}") from error


@contextmanager
def writing(asset: str, root: str) -> Iterator[None]:
    """Says what cannot be written where."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {asset} under {root}: {error}") from error


@contextmanager
def unless_damaged() -> Iterator[None]:
    """Leaves the block if what it reads is damaged or gone.

    Raises:
        UnreadableError: the store cannot be read now.
    """
    try:
        yield
    except UnreadableError:
        raise
    except StorageError:
        pass
