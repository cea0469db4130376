"""Checks the text of an annotation's `image` path before the disk is touched.

What the text cannot show (links, missing files, devices) is left to `lookup` and the
image probe.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Sequence

from jersey_assets.annotations.lines.jsonl import Fault
from jersey_assets.text import shorten

MAX_BYTES = 4_095
"""The longest path that the system opens: PATH_MAX without its final zero."""

MAX_FOLDERS = 128
"""How many folders an image's path may have."""

_PLAIN_CHARACTERS = 2 * MAX_FOLDERS - 1
"""A path shorter than this has neither too many bytes nor too many folders."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://|(data|file|http|https|s3|gs):", re.I)
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")
_CONTROL = re.compile(r"[\x00-\x1f]")


def image_path(folder: str, image: str) -> str | Fault:
    """Join an image path to its JSONL file's folder.

    Args:
        folder: the JSONL file's folder, relative to the root.
        image: the row's `image`.

    Returns:
        The posix path relative to the root, without `.` and doubled slashes but with
        `..` (only the disk knows what that means after a link), or the fault.
    """
    wrong = _what_is_wrong(folder, image)
    if wrong is not None:
        reason, what = wrong
        shown = shorten(json.dumps(image, ensure_ascii=False))
        return Fault(reason, f'"image" {shown} {what}', "image", shown)
    parts = f"{folder}/{image}".split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _what_is_wrong(folder: str, image: str) -> tuple[str, str] | None:
    """Return the reason, and the end of a sentence that begins with the path."""
    if not image:
        return "path.invalid", "is empty; write the path of the crop"
    if len(image) > MAX_BYTES or len(image.encode()) > MAX_BYTES:
        what = f"is longer than the {MAX_BYTES:,} bytes that a path may have"
        return "path.invalid", what
    if image.count("/") > MAX_FOLDERS:
        what = f"has more than {MAX_FOLDERS} folders; move the image up"
        return "path.invalid", what
    if _CONTROL.search(image):
        return "path.invalid", "has control characters; correct the path"
    if _SCHEME.match(image):
        return "path.scheme", "is a URL; copy the file here and name it"
    if _ABSOLUTE.match(image):
        return "path.absolute", "is absolute; write it relative to this JSONL file"
    if "\\" in image:
        return "path.invalid", "has backslashes; write / between folders"
    if posixpath.normpath(f"{folder}/{image}").split("/", 1)[0] == "..":
        what = "leads out of the dataset; copy the file into it and name it from there"
        return "path.escape", what
    if image.endswith(("/", "/.")):
        return "path.not_regular", "names a folder; name the image file"
    return None


def are_plain(images: Sequence[str]) -> bool:
    """Say whether `image_path` would merely join each of these paths.

    Searches all of them at once. True is certain; False means that each path needs a
    closer look.
    """
    if max(map(len, images), default=0) > _PLAIN_CHARACTERS:
        return False
    text = f"/{'/'.join(images)}/"
    odd = "//" in text or "/." in text or ":" in text or "\\" in text
    return not odd and text.isprintable()
