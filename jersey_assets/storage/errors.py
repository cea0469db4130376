"""What can go wrong with a store."""

from __future__ import annotations


class StorageError(RuntimeError):
    """An artifact that is missing, damaged or cannot be written."""


class UnreadableError(StorageError):
    """A store that does not answer now, which says nothing about what it holds."""


class GoneError(StorageError):
    """A version that is not, or no longer, there as a whole."""
