"""The copy of a URL follows it: every change, no other file, nothing outside."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec
import pytest

from jersey_assets.storage.mirror import Mirror, MirrorError


@pytest.fixture(params=["memory", "s3"])
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """URL of a folder with two files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "s3":
        url = f"{request.getfixturevalue('bucket')}/data"
    else:
        url = f"memory://{uuid.uuid4().hex}"
    put(url, "train/a.jsonl", b"one\n")
    put(url, "train/a.png", b"png")
    return url


def put(url: str, name: str, content: bytes) -> None:
    fs, base = fsspec.url_to_fs(url)
    fs.pipe_file(f"{base}/{name}", content)


def copied(mirror: Mirror) -> dict[str, bytes]:
    return {
        file.relative_to(mirror.folder).as_posix(): file.read_bytes()
        for file in sorted(mirror.folder.rglob("*"))
        if file.is_file()
    }


def test_the_copy_follows_every_change(url: str) -> None:
    mirror = Mirror(url)
    mirror.refresh()
    assert copied(mirror) == {"train/a.jsonl": b"one\n", "train/a.png": b"png"}
    put(url, "train/a.jsonl", b"two\n")
    put(url, "valid/b.jsonl", b"new\n")
    fs, base = fsspec.url_to_fs(url)
    fs.rm(f"{base}/train/a.png")
    mirror.refresh()
    assert copied(mirror) == {"train/a.jsonl": b"two\n", "valid/b.jsonl": b"new\n"}


def test_what_did_not_change_is_not_fetched_again(url: str) -> None:
    mirror = Mirror(url)
    mirror.refresh()
    before = (mirror.folder / "train/a.png").stat()
    put(url, "train/a.jsonl", b"two\n")
    mirror.refresh()
    assert (mirror.folder / "train/a.png").stat().st_ino == before.st_ino
    assert (mirror.folder / "train/a.png").stat().st_ctime_ns == before.st_ctime_ns


def test_a_look_at_some_names_leaves_the_others_alone(url: str) -> None:
    mirror = Mirror(url)
    mirror.refresh("*.jsonl")
    assert copied(mirror) == {"train/a.jsonl": b"one\n"}
    mirror.refresh()
    put(url, "train/a.png", b"other")
    mirror.refresh("*.jsonl")
    assert copied(mirror)["train/a.png"] == b"png"


def test_one_call_fetches_no_more_than_its_budget(url: str) -> None:
    put(url, "train/b.jsonl", b"x" * 48)
    mirror = Mirror(url)
    with pytest.raises(MirrorError, match=r"1 of 2 files of .* still to be fetched"):
        mirror.refresh("*.jsonl", budget_bytes=50)
    mirror.refresh("*.jsonl", budget_bytes=50)
    assert len(copied(mirror)) == 2
    put(url, "train/c.jsonl", b"x" * 51)
    with pytest.raises(MirrorError, match=r"c\.jsonl has 51 bytes; at most 50 are"):
        mirror.refresh("*.jsonl", budget_bytes=50)
    assert len(copied(mirror)) == 2


def test_a_file_may_become_a_folder_and_a_folder_a_file(url: str) -> None:
    fs, base = fsspec.url_to_fs(url)
    put(url, "train/x", b"file")
    mirror = Mirror(url)
    mirror.refresh()
    fs.rm(f"{base}/train/x")
    put(url, "train/x/y.jsonl", b"inside")
    for only in ("*.jsonl", "*"):
        mirror.refresh(only)
        assert copied(mirror)["train/x/y.jsonl"] == b"inside"
    fs.rm(f"{base}/train/x", recursive=True)
    put(url, "train/x", b"file again")
    mirror.refresh()
    assert copied(mirror)["train/x"] == b"file again"


def test_folders_made_in_a_console_are_no_files(bucket: str, tmp_path: Path) -> None:
    for folder in ("data/", "data/train/"):
        fsspec.filesystem("s3").call_s3(
            "put_object", Bucket=bucket.removeprefix("s3://"), Key=folder, Body=b""
        )
    put(f"{bucket}/data", "train/a.jsonl", b"x")
    mirror = Mirror(f"{bucket}/data")
    mirror.refresh()
    assert copied(mirror) == {"train/a.jsonl": b"x"}


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_lost_copy_is_fetched_again(url: str, how: str) -> None:
    mirror = Mirror(url)
    mirror.refresh()
    file = mirror.folder / "train/a.png"
    file.unlink() if how == "gone" else file.write_bytes(b"")
    mirror.refresh()
    assert copied(mirror)["train/a.png"] == b"png"


def test_an_empty_url_leaves_the_copy_as_it_is(url: str) -> None:
    mirror = Mirror(url)
    mirror.refresh()
    fs, base = fsspec.url_to_fs(url)
    fs.rm(base, recursive=True)
    with pytest.raises(MirrorError, match="holds no files, or does not exist"):
        mirror.refresh()
    assert len(copied(mirror)) == 2


def test_a_server_that_is_gone_is_told(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(MirrorError, match="cannot be listed"):
        Mirror(bucket).refresh()
    fsspec.filesystem("s3").clear_instance_cache()


def test_a_name_cannot_leave_the_copy(bucket: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    put(f"{bucket}/data", "../../escaped.jsonl", b"x")
    put(f"{bucket}/data", "train/a.jsonl", b"x")
    with pytest.raises(MirrorError, match="not a path inside a folder: rename it"):
        Mirror(f"{bucket}/data").refresh()
    assert not [file for file in tmp_path.rglob("*") if file.name == "escaped.jsonl"]


def test_a_driver_that_is_not_there_is_named() -> None:
    with pytest.raises(MirrorError, match=r"nosuch://.*[Pp]rotocol"):
        Mirror("nosuch://somewhere").refresh()
