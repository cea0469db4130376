"""Reason codes (label.charset, image.flat, leak.exact, …): meaning and severity.

The reader, the image probe and the search for leaks only name codes of this table, so a
code's severity is decided in one place.
"""

from __future__ import annotations

from typing import Literal

Severity = Literal["error", "warning"]

WARNINGS = frozenset(
    {
        "label.duplicate",
        "label.rare",
        "label.leading_zero",
        "image.flat",
        "leak.near",
        "file.linked",
    }
)

REASONS: dict[str, str] = {
    "json.syntax": "the line is not one JSON value",
    "json.encoding": "the line is not UTF-8",
    "json.depth": "the JSON is nested too deeply",
    "json.duplicate_key": "an object names the same key twice",
    "json.nonfinite": "NaN, Infinity or a number too large for a float",
    "json.line_too_long": "the line is longer than the limit",
    "row.not_object": "the line is JSON but not an object",
    "row.missing_field": "image or suffix is missing",
    "row.wrong_type": "a field has the wrong type",
    "label.charset": "the label has characters that labels may not have",
    "label.whitespace": "the label has white space in it",
    "label.too_long": "the label has too many digits",
    "label.conflict": "one image has two labels",
    "label.duplicate": "the same image and label again; merged into the first row",
    "label.unknown": "a valid or test label that train does not have",
    "label.rare": "train has very few images of this label",
    "label.leading_zero": "the number is written with a leading zero",
    "path.invalid": "the path cannot name a file",
    "path.absolute": "the path is absolute",
    "path.escape": "the path leads out of the dataset",
    "path.symlink_escape": "a link leads out of the dataset",
    "path.scheme": "the path is a URL",
    "path.missing": "there is no such file",
    "path.not_regular": "the path is not a regular file",
    "path.unreadable": "the file cannot be read",
    "image.empty": "the file is empty",
    "image.format": "the file is neither JPEG nor PNG",
    "image.truncated": "the image ends too early",
    "image.corrupt": "the image's bytes are damaged",
    "image.decode": "the image cannot be decoded",
    "image.too_large": "the image has more pixels or bytes than the limit",
    "image.too_small": "the image has too few pixels to show a number",
    "image.aspect": "the image is a thin strip",
    "image.flat": "the image is one even colour",
    "leak.exact": "the same pixels are in another split",
    "leak.near": "almost the same picture is in another split",
    "file.encoding": "the file is not UTF-8 JSONL at all",
    "file.not_regular": "the annotation file is not a regular file of the dataset",
    "file.unreadable": "the annotation file or folder cannot be read",
    "file.linked": "a link to annotations that are read under another name",
    "dataset.no_train": "no train row is left",
    "dataset.no_valid": "no valid row is left",
    "dataset.single_class": "train has only one label",
}


def severity(reason: str) -> Severity:
    """Say whether a reason sets its row aside (`error`) or keeps it (`warning`)."""
    return "warning" if reason in WARNINGS else "error"
