"""Text that came from a file, made fit for a message, a terminal or a page."""

from __future__ import annotations

SHOWN_CHARACTERS = 80
"""Longest piece of a value from a file that a message shows."""

SHOWN_PATH = 160
"""Longest path that a message shows; its end says more than its middle."""


def shorten(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """Cut a value to a readable length; what UTF-8 cannot hold is escaped."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return cut.encode("utf-8", "backslashreplace").decode()


def shorten_path(path: str, limit: int = SHOWN_PATH) -> str:
    """Cut a path in its middle; what UTF-8 cannot hold is escaped."""
    if len(path) > limit:
        path = f"{path[: limit // 2]}…{path[-limit // 2 :]}"
    return path.encode("utf-8", "backslashreplace").decode()


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


def count(number: int, one: str, many: str | None = None) -> str:
    """Say how many there are: `1 epoch`, `1,200 epochs`.

    Args:
        number: how many.
        one: what one is called, with its verb where there is one.
        many: what several are called; `one` with an s by default.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
