"""What can go wrong with a store, and what the system's errors mean there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What reading a file raises that is not, or no longer, there."""


class StorageError(RuntimeError):
    """An artifact that is missing, damaged or cannot be written."""


class UnreadableError(StorageError):
    """A store that does not answer now, which says nothing about what it holds."""


class GoneError(StorageError):
    """A version that is not, or no longer, there as a whole."""


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
    """Leaves the block where what it reads is damaged or gone.

    Raises:
        UnreadableError: whether it is cannot be told now.
    """
    try:
        yield
    except UnreadableError:
        raise
    except StorageError:
        pass
