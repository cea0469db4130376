"""Text that came from a file, made fit for a message, a terminal or a page."""

from __future__ import annotations

SHOWN_CHARACTERS = 80
"""Longest piece of a value from a file that a message shows."""


def shorten(text: str) -> str:
    """Cut a value to a readable length; what UTF-8 cannot hold is escaped."""
    cut = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
    return cut.encode("utf-8", "backslashreplace").decode()


def readable(text: str) -> str:
    """Escape control characters, line separators and direction marks.

    A terminal would obey them and a page would hide them: names may hold anything.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
