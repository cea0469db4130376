"""Training's exceptions, and which of them a retry would repeat."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A training cannot start or has no usable result; the message says why."""


class Interrupted(TrainingError):
    """A training was asked to stop; the message says where it will resume."""


def would_fail_again(error: Exception) -> bool:
    """Whether the next try would fail in the same way: wrong data or a wrong recipe.

    Other errors, such as a full disk, are the machine's, and the next try resumes.
    """
    return isinstance(error, (TrainingError, ValueError))
