"""The fast reader of blocks agrees with the strict reader of lines, always."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jersey_assets.annotations.disk.paths import are_plain, image_path
from jersey_assets.annotations.lines.blocks import BlockDecoder
from jersey_assets.annotations.lines.jsonl import Fault, parse_line
from jersey_assets.annotations.rules import Rules
from jersey_assets_tests.annotations.disk.hostile import PATHS
from jersey_assets_tests.annotations.lines.hostile import JSON_LINES

RULES = Rules()

text = st.text(max_size=12)
tricky = st.sampled_from(
    ["", ":", "a:b", '"', "\\", "\u003a", "{", "}", "[", "a/b.jpg", "..", "./x", "7"]
)
strings = st.one_of(tricky, text, st.text(string.ascii_letters + "/.:", max_size=8))
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
scalars = st.one_of(st.none(), st.booleans(), numbers, strings)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(strings, inner, max_size=3)
    ),
    max_leaves=6,
)
labels = st.one_of(st.from_regex("[0-9]{0,2}", fullmatch=True), strings)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line that is nearly an annotation: keys repeat, types are odd, bytes flip."""
    fields = [("image", draw(strings)), ("suffix", draw(labels))]
    extra = st.tuples(
        st.sampled_from(["prefix", "metadata", "suffix", "image", "id"]),
        st.one_of(values, st.dictionaries(strings, values, max_size=3), strings),
    )
    fields += draw(st.lists(extra, max_size=2))
    colon = draw(st.sampled_from([": ", ":", " : "]))
    ascii_only = draw(st.booleans())
    body = ", ".join(
        json.dumps(key) + colon + json.dumps(value, ensure_ascii=ascii_only)
        for key, value in draw(st.permutations(fields))
    )
    line = ("{" + body + "}").encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(line) - 1))
        line = line[:place] + draw(st.binary(max_size=2)) + line[place + 1 :]
    return line.replace(b"\n", b" ")


def assert_agree(line: bytes) -> None:
    """What the fast reader accepts, the strict one accepts with the same values."""
    block = BlockDecoder(RULES).decode([line], "train")
    if block is None:
        return
    strict = parse_line(line, RULES)
    assert strict.faults == ()
    assert strict.image is not None
    assert block.image.to_pylist() == [image_path("train", strict.image)]
    assert block.label.to_pylist() == [strict.label]
    assert block.prefix.to_pylist() == [strict.prefix]
    assert block.metadata.to_pylist() == [strict.metadata]


@settings(max_examples=1000, deadline=None)
@given(lines())
def test_fast_and_strict_agree_on_odd_lines(line: bytes) -> None:
    assert_agree(line)


@pytest.mark.parametrize(
    ("reason", "name"),
    [(reason, name) for reason, cases in JSON_LINES.items() for name in cases],
)
def test_the_fast_reader_accepts_no_hostile_line(reason: str, name: str) -> None:
    line = JSON_LINES[reason][name]
    assert BlockDecoder(RULES).decode([line], "train") is None
    assert parse_line(line, RULES).faults[0].reason == reason


@pytest.mark.parametrize("before", [0, 5])
def test_one_bad_line_keeps_a_block_from_the_fast_way(before: int) -> None:
    good = [b'{"image": "a.jpg", "suffix": "7", "metadata": {"a": "b:c"}}'] * before
    twice = b'{"image": "a.jpg", "suffix": "7", "suffix": "8", "metadata": {"a": "b"}}'
    assert BlockDecoder(RULES).decode([*good, twice, *good], "train") is None


ROW = b'{"image": "a.jpg", "suffix": "7"}'


@pytest.mark.parametrize(
    "block",
    [
        [b'{"image": "a.jpg"', b'"suffix": "7"}' + ROW],
        [ROW + ROW, b'{"image": "a.jpg",', b'"suffix": "7"}'],
        [b'{"image": "a}', b'{b.jpg", "suffix": "7"}' + ROW],
        [b'{"image": "a.jpg", "suffix": "7", "metadata": {"a": [{}', b"{}]}}" + ROW],
        [b'{"image": "a.jpg", "suffix": "7", "metadata": {}', b"{}}" + ROW],
        [ROW + b",", ROW],
        [ROW, ROW + ROW],
        [b"{}", ROW + ROW, ROW],
    ],
)
def test_lines_that_only_hold_together_are_no_rows(block: list[bytes]) -> None:
    assert BlockDecoder(RULES).decode(block, "train") is None
    assert any(parse_line(line, RULES).faults for line in block)


@settings(max_examples=300, deadline=None)
@given(st.lists(lines(), min_size=2, max_size=4))
def test_a_block_says_what_its_lines_say(block: list[bytes]) -> None:
    together = BlockDecoder(RULES).decode(block, "train")
    alone = [BlockDecoder(RULES).decode([line], "train") for line in block]
    if together is None:
        return
    for column in ("image", "label", "prefix", "metadata"):
        values = [getattr(one, column)[0].as_py() for one in alone]
        assert getattr(together, column).to_pylist() == values


@pytest.mark.parametrize(
    "line",
    [
        b'{"image": "a.jpg", "suffix": "7"}',
        b'{"suffix":"7","image":"crops/a-b_c d.jpg","prefix":"Read: it"}',
        b'{"image": "a.jpg", "suffix": "", "metadata": {"a": "b", "c": 1.5e3}}',
        b'{"image": "a.jpg", "suffix": "7", "metadata": {"a": [1, 2], "b": {"c": 1}}}',
        '{"image": "é.jpg", "suffix": "7", "prefix": "读"}'.encode(),
        rb'{"image": "a.jpg", "suffix": "7", "prefix": "\ud83d\ude00\n"}',
        b' {"image": "a.jpg" , "suffix" :"7"} \r',
    ],
)
def test_everyday_lines_take_the_fast_way(line: bytes) -> None:
    assert BlockDecoder(RULES).decode([line], "train") is not None
    assert_agree(line)


@given(st.lists(strings, min_size=1, max_size=4))
def test_plain_paths_are_only_joined(images: list[str]) -> None:
    if are_plain(images):
        for image in images:
            assert image_path("train", image) == f"train/{image}"


@pytest.mark.parametrize("name", PATHS)
def test_a_plain_path_is_never_a_hostile_one(name: str) -> None:
    path, reason = PATHS[name]
    if are_plain([path]):
        assert reason in ("path.missing", "path.not_regular", "path.invalid")
        assert not isinstance(image_path("train", path), Fault)
