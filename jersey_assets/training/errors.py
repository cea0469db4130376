"""What training says when it cannot go on."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """Training that cannot start or has no usable result; the message says why."""


class Interrupted(TrainingError):
    """Training that was asked to stop; the message says where it will go on."""
