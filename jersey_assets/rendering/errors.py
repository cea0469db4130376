"""The one exception of this room."""

from __future__ import annotations


class RenderError(ValueError):
    """What was asked for cannot be drawn; the message says what to do."""
