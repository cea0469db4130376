"""The picture of what was set aside."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from PIL import Image

from jersey_assets.annotations.images.contact_sheet import write_contact_sheet
from jersey_assets.annotations.rules import Rules


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
    write_contact_sheet(tmp_path, table, Rules(), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        colors = sheet.convert("RGB").getcolors(1 << 20) or []
    assert (255, 0, 0) in {color for _, color in colors}


def test_nothing_is_drawn_where_nothing_can_be_shown(tmp_path: Path) -> None:
    sheet, rules = tmp_path / "sheet.png", Rules()
    write_contact_sheet(tmp_path, rejected("none.png"), rules, sheet)
    write_contact_sheet(tmp_path, rejected(), rules, sheet)
    nameless = rejected("none.png").assign(image=None)
    write_contact_sheet(tmp_path, nameless, rules, sheet)
    assert not (tmp_path / "sheet.png").exists()


def test_a_file_beyond_the_limit_is_not_read_for_a_picture(tmp_path: Path) -> None:
    with (tmp_path / "big.jpg").open("wb") as stream:
        stream.write(b"\xff\xd8\xff")
        stream.truncate(20 << 30)
    for reason in ("image.too_large", "label.conflict"):
        table = rejected("big.jpg").assign(reason=reason)
        write_contact_sheet(
            tmp_path, table, Rules(max_image_bytes=1000), tmp_path / "sheet.png"
        )
    assert not (tmp_path / "sheet.png").exists()
