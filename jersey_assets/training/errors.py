"""What training says when it cannot go on."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """Training that cannot start or has no usable result; the message says why."""


class Interrupted(TrainingError):
    """Training that was asked to stop; the message says where it will go on."""


def would_fail_again(error: Exception) -> bool:
    """Whether the next try would end the same way: wrong data or a wrong recipe.

    Other errors are the machine's, as a full disk is, and the next try resumes.
    """
    return isinstance(error, (TrainingError, ValueError))
