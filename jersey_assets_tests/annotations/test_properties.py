"""Whatever stands in the files: nothing is lost and nothing good is set aside."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate
from jersey_assets_tests.annotations.datasets import (
    Dataset,
    assert_nothing_is_lost,
    found,
    good_rows,
)

SPLITS = ("train", "valid", "test")
CROPS = 8

images = st.one_of(
    st.integers(0, CROPS - 1).map(lambda n: f"crops/{n}.png"),
    st.sampled_from(["../valid/crops/0.png", "crops/none.png", "crops", "/x", ""]),
)
labels = st.sampled_from(["7", "23", "", "07", "123", "a", "00"])
rows = st.fixed_dictionaries({"image": images, "suffix": labels}).map(
    lambda row: json.dumps(row).encode()
)
junk = st.one_of(
    st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from([b"", b" ", b"{}", b"[]", b'{"image": 1}', b"\xff\xfe", b"NaN"]),
)
files = st.lists(st.one_of(rows, rows, rows, junk), max_size=12)


def draw_dataset(pattern: Path, folder: str) -> Dataset:
    """Three splits of crops without any annotation."""
    data = Dataset(Path(folder))
    for split in SPLITS:
        crops = data.root / split / "crops"
        crops.mkdir(parents=True)
        for number in range(CROPS):
            source = pattern / "train/crops" / f"{number}.png"
            if split != "train" and number >= 4:
                continue
            if split != "train":
                source = pattern / split / "crops" / f"{number}.png"
            (crops / source.name).hardlink_to(source)
    return data


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(contents=st.fixed_dictionaries(dict.fromkeys(SPLITS, files)))
def test_rows_read_are_kept_set_aside_or_merged(
    pattern_dataset: Path, contents: dict[str, list[bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = draw_dataset(pattern_dataset, folder)
        for split, lines in contents.items():
            data.lines(f"{split}/annotations.jsonl", lines)
        for policy in ("reject", "prefer_number"):
            validation = data.validate(conflict_policy=policy)
            assert_nothing_is_lost(validation)
        filled = sum(
            bool(line.strip(b" \t\r")) for f in contents.values() for line in f
        )
        whole_files = {file for file, line, _ in found(validation) if line == 0}
        if not any(name.endswith(".jsonl") for name in whole_files):
            assert validation.summary["rows"] == filled


extras = st.fixed_dictionaries(
    {},
    optional={
        "prefix": st.text(max_size=20),
        "metadata": st.dictionaries(
            st.text(max_size=5),
            st.one_of(st.text(max_size=9), st.integers(), st.booleans(), st.none()),
            max_size=3,
        ),
        "id": st.integers(),
    },
)


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    more=st.lists(extras, min_size=12, max_size=12),
    noise=st.lists(st.tuples(st.integers(0, 12), junk), max_size=6),
    ascii_only=st.booleans(),
    ending=st.sampled_from([b"\n", b"\r\n", b" \n", b"\n\n"]),
)
def test_no_valid_row_is_ever_set_aside(
    pattern_dataset: Path,
    more: list[dict[str, object]],
    noise: list[tuple[int, bytes]],
    ascii_only: bool,
    ending: bytes,
) -> None:
    """Twelve good rows in train stay, whatever faulty lines stand between them."""
    good = [row | extra for row, extra in zip(good_rows(12), more, strict=True)]
    lines = [json.dumps(row, ensure_ascii=ascii_only).encode() for row in good]
    for place, bad in noise:
        lines.insert(place, bad)
    with tempfile.TemporaryDirectory() as folder:
        data = Dataset(Path(folder))
        for split in SPLITS:
            (data.root / split).mkdir()
            (data.root / split / "crops").mkdir()
            for source in (pattern_dataset / split / "crops").iterdir():
                (data.root / split / "crops" / source.name).hardlink_to(source)
        data.lines("valid/annotations.jsonl", good_rows(4))
        data.bytes("train/annotations.jsonl", b'{"a":1}\n' + ending.join(lines))
        validation = validate(data.root, Rules())
        assert_nothing_is_lost(validation)
        kept = validation.validated
        train = kept[kept["split"] == "train"]
        assert list(train["image"]) == [f"train/crops/{n}.png" for n in range(12)]
        assert list(train["label"]) == [row["suffix"] for row in good]
        given_prefixes = [row.get("prefix") for row in good]
        prefixes = [None if p != p else p for p in train["prefix"]]
        assert prefixes == given_prefixes
        texts = [None if m != m else json.loads(m) for m in train["metadata"]]
        assert texts == [row.get("metadata") for row in good]
