"""Shortens and escapes text from files for messages; counts with a plural."""

from __future__ import annotations

SHOWN_CHARACTERS = 80
"""How many characters of a value from a file a message shows."""

SHOWN_PATH = 160
"""Longest path that a message shows; its end says more than its middle."""


def shorten(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """Cut a value to a readable length; escape what UTF-8 cannot encode."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return cut.encode("utf-8", "backslashreplace").decode()


def shorten_path(path: str, limit: int = SHOWN_PATH) -> str:
    """Cut a path in its middle; escape what UTF-8 cannot encode."""
    if len(path) > limit:
        path = f"{path[: limit // 2]}…{path[-limit // 2 :]}"
    return path.encode("utf-8", "backslashreplace").decode()


def readable(text: str) -> str:
    """Escape control characters, line separators and direction marks.

    A terminal would obey them and a page would hide them; names may contain anything.
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
        one: the words for one, with a verb if needed.
        many: the words for several; `one` with an s by default.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
