"""The picture of what was set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from jersey_assets.annotations.images.contact_sheet import write_contact_sheet
from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate

NONE_KEPT = pd.DataFrame(columns=["file", "line", "image_sha256"])
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def colors(path: Path) -> set[Any]:
    """The colours in a picture."""
    with Image.open(path) as image:
        found = image.convert("RGB").getcolors(1 << 20) or []
    return {color for _, color in found}


def rejected(*images: str) -> pd.DataFrame:
    rows = [("train", "a.jsonl", n, name) for n, name in enumerate(images, 1)]
    columns = ["split", "file", "line", "image"]
    return pd.DataFrame(rows, columns=columns).assign(
        label="23", reason="label.conflict"
    )


def test_crops_set_aside_are_drawn_and_those_that_cannot_be_are_left_out(
    tmp_path: Path,
) -> None:
    Image.new("RGB", (20, 30), "red").save(tmp_path / "red.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    table = rejected("red.png", "bad.png", "none.png", "../../etc/passwd", "")
    write_contact_sheet(tmp_path, table, NONE_KEPT, Rules(), tmp_path / "sheet.png")
    assert RED in colors(tmp_path / "sheet.png")


def test_a_crop_that_changed_since_it_was_validated_is_not_drawn_as_that_row(
    tmp_path: Path,
) -> None:
    (tmp_path / "train" / "crops").mkdir(parents=True)
    (tmp_path / "valid").mkdir()
    rows = []
    for name, color in (("red", RED), ("green", GREEN)):
        image = Image.new("RGB", (20, 30), color)  # flat: kept with a warning
        image.save(tmp_path / "train" / "crops" / f"{name}.png")
        rows.append(json.dumps({"image": f"crops/{name}.png", "suffix": name[0]}))
    (tmp_path / "train" / "a.jsonl").write_text("\n".join(rows))
    rules, sheet = Rules(label_pattern="[a-z]"), tmp_path / "sheet.png"
    found = validate(tmp_path, rules, print)
    assert len(found.validated) == 2
    warned = found.warnings[found.warnings["reason"] == "image.flat"]
    write_contact_sheet(tmp_path, warned, found.validated, rules, sheet)
    assert {RED, GREEN} <= colors(sheet)
    Image.new("RGB", (20, 30), BLUE).save(tmp_path / "train" / "crops" / "green.png")
    write_contact_sheet(tmp_path, warned, found.validated, rules, sheet)
    drawn = colors(sheet)
    assert RED in drawn
    assert not {GREEN, BLUE} & drawn


def test_nothing_is_drawn_where_nothing_can_be_shown(tmp_path: Path) -> None:
    sheet, rules = tmp_path / "sheet.png", Rules()
    write_contact_sheet(tmp_path, rejected("none.png"), NONE_KEPT, rules, sheet)
    write_contact_sheet(tmp_path, rejected(), NONE_KEPT, rules, sheet)
    nameless = rejected("none.png").assign(image=None)
    write_contact_sheet(tmp_path, nameless, NONE_KEPT, rules, sheet)
    assert not (tmp_path / "sheet.png").exists()


def test_a_file_beyond_the_limit_is_not_read_for_a_picture(tmp_path: Path) -> None:
    with (tmp_path / "big.jpg").open("wb") as stream:
        stream.write(b"\xff\xd8\xff")
        stream.truncate(20 << 30)
    for reason in ("image.too_large", "label.conflict"):
        table = rejected("big.jpg").assign(reason=reason)
        rules, sheet = Rules(max_image_bytes=1000), tmp_path / "sheet.png"
        write_contact_sheet(tmp_path, table, NONE_KEPT, rules, sheet)
    assert not (tmp_path / "sheet.png").exists()
