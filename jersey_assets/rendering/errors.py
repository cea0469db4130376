"""The exception of rendering."""

from __future__ import annotations


class RenderError(ValueError):
    """The request cannot be drawn; the message says what to do."""
