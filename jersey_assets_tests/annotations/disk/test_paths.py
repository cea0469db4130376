"""Paths of crops: `path.*` where nothing that may be read lies there."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from jersey_assets_tests.annotations.datasets import (
    BAD,
    TRAIN,
    Dataset,
    check,
    encoded,
    noise,
    row,
)
from jersey_assets_tests.annotations.disk.hostile import PATHS


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_names_no_crop_is_set_aside(good: Dataset, name: str) -> None:
    path, reason = PATHS[name]
    good.image("train/crops/é.png", 99)
    good.lines(TRAIN, [row(path, "7")])
    check(good, "quarantine", {(TRAIN, BAD, reason)})


def link_out(data: Dataset) -> str:
    secret = data.root.parent / "secret.png"
    secret.write_bytes(encoded(noise(99)))
    (data.root / "train/crops/x.png").symlink_to(secret)
    return "path.symlink_escape"


def link_to_zero(data: Dataset) -> str:
    (data.root / "train/crops/x.png").symlink_to("/dev/zero")
    return "path.symlink_escape"


def link_chain_out(data: Dataset) -> str:
    (data.root / "train/crops/y.png").symlink_to("/dev/zero")
    (data.root / "train/crops/x.png").symlink_to("y.png")
    return "path.symlink_escape"


def link_out_by_dots(data: Dataset) -> str:
    (data.root.parent / "secret.png").write_bytes(encoded(noise(99)))
    (data.root / "train/crops/x.png").symlink_to("../../../secret.png")
    return "path.symlink_escape"


def dangling_link(data: Dataset) -> str:
    (data.root / "train/crops/x.png").symlink_to("nowhere.png")
    return "path.missing"


def link_to_itself(data: Dataset) -> str:
    (data.root / "train/crops/x.png").symlink_to("x.png")
    return "path.not_regular"


def link_to_folder(data: Dataset) -> str:
    (data.root / "train/crops/x.png").symlink_to(".")
    return "path.not_regular"


def fifo(data: Dataset) -> str:
    os.mkfifo(data.root / "train/crops/x.png")
    return "path.not_regular"


def link_to_fifo(data: Dataset) -> str:
    os.mkfifo(data.root / "train/pipe")
    (data.root / "train/crops/x.png").symlink_to("../pipe")
    return "path.not_regular"


def unix_socket(data: Dataset) -> str:
    here = os.open(data.root / "train/crops", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{here}/x.png")
    os.close(here)
    return "path.not_regular"


@pytest.mark.parametrize(
    "make",
    [
        link_out,
        link_to_zero,
        link_chain_out,
        link_out_by_dots,
        dangling_link,
        link_to_itself,
        link_to_folder,
        fifo,
        link_to_fifo,
        unix_socket,
    ],
)
def test_what_is_no_file_of_the_dataset_is_never_read(
    good: Dataset, make: Callable[[Dataset], str]
) -> None:
    reason = make(good)
    good.lines(TRAIN, [row("crops/x.png", "7")])
    check(good, "quarantine", {(TRAIN, BAD, reason)})


def test_a_folder_that_links_out_is_never_entered(good: Dataset) -> None:
    outside = Dataset(good.root.parent / "outside")
    outside.image("x.png", 99)
    (good.root / "train/more").symlink_to(outside.root)
    good.lines(TRAIN, [row("more/x.png", "7")])
    check(good, "quarantine", {(TRAIN, BAD, "path.symlink_escape")})


def test_a_chain_of_links_without_end_is_named(good: Dataset) -> None:
    for n in range(1050):
        (good.root / f"train/crops/l{n}.png").symlink_to(f"l{n + 1}.png")
    (good.root / "train/crops/l1050.png").symlink_to("0.png")
    good.lines(TRAIN, [row("crops/l0.png", "7")])
    check(good, "quarantine", {(TRAIN, BAD, "path.unreadable")})


def test_links_that_stay_inside_are_followed(good: Dataset) -> None:
    good.image("pool/x.png", 99)
    (good.root / "train/x.png").symlink_to("../pool/x.png")
    good.lines("pool/more.txt", [row("x.png", "7")])
    (good.root / "train/more.jsonl").symlink_to("../pool/more.txt")
    check(good, "accept", set())
    assert "pool/x.png" in set(good.validate().validated["image"])
