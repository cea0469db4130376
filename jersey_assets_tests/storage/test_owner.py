"""An artifact root belongs to one dataset, and says so."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.owner import (
    DatasetRoot,
    OwnerError,
    adopt,
    claim,
    dataset_in_use,
    owner,
    refuse_other,
)
from jersey_assets.storage.store import Store
from jersey_assets_tests.whole_graph import hand_over, materialized, run_graph


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "artifacts"))


def folder(path: Path) -> DatasetRoot:
    path.mkdir(parents=True, exist_ok=True)
    return DatasetRoot(str(path))


def test_a_root_is_its_first_datasets_and_refuses_another_one(
    store: Store, tmp_path: Path
) -> None:
    mine, other = folder(tmp_path / "mine"), folder(tmp_path / "the other one")
    refuse_other(store, other)  # nobody's yet
    claim(store, mine)
    claim(store, mine)
    note = json.loads((tmp_path / "artifacts" / "dataset.json").read_text())
    assert note == {"name": "mine", "identity": str(tmp_path / "mine")}
    with pytest.raises(OwnerError) as refused:
        claim(store, other)
    for said in (
        f"belongs to the dataset {tmp_path / 'mine'}",
        "JERSEY_ARTIFACT_ROOT=FOLDER",
        f"jersey-assets adopt '{tmp_path / 'the other one'}'",
    ):
        assert said in str(refused.value)
    adopt(store, other)
    claim(store, other)
    with pytest.raises(OwnerError):
        claim(store, mine)


def test_another_spelling_is_the_same_dataset(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(store, folder(tmp_path / "mine"))
    (tmp_path / "link").symlink_to("mine")
    monkeypatch.chdir(tmp_path)
    for spelling in ("mine", "./mine/", "link", f"file://{tmp_path}/mine"):
        refuse_other(store, DatasetRoot(spelling))
    assert (
        DatasetRoot("s3://bucket/a/").identity == DatasetRoot("s3://bucket/a").identity
    )
    assert DatasetRoot("s3://bucket/a/").name == "a"
    with pytest.raises(OwnerError):
        refuse_other(store, DatasetRoot("s3://bucket/mine"))


def test_a_root_at_a_url_remembers_as_well(bucket: str, tmp_path: Path) -> None:
    store = Store(f"{bucket}/artifacts")
    assert owner(store) is None
    claim(store, folder(tmp_path / "mine"))
    assert owner(store) == DatasetRoot(str(tmp_path / "mine"))


def test_where_none_is_given_the_roots_own_dataset_is_used_and_else_the_sample(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dataset_in_use(store, "").path == tmp_path / "data" / "sample"
    claim(store, folder(tmp_path / "mine"))
    assert dataset_in_use(store, "").path == tmp_path / "mine"
    assert dataset_in_use(store, "given").path == Path("given")


@pytest.mark.parametrize("note", ["", "[]", '{"name": "x"}', '{"identity": 3}'])
def test_a_damaged_note_is_told_and_can_be_written_again(
    store: Store, tmp_path: Path, note: str
) -> None:
    mine = folder(tmp_path / "mine")
    claim(store, mine)
    (tmp_path / "artifacts" / "dataset.json").write_text(note)
    with pytest.raises(StorageError, match=r"dataset\.json is damaged"):
        claim(store, mine)
    adopt(store, mine)
    refuse_other(store, mine)


def test_what_a_killed_writer_of_the_note_left_goes_with_the_next_one(
    store: Store, tmp_path: Path
) -> None:
    mine = folder(tmp_path / "mine")
    script = (
        "import os, signal, sys\n"
        "from jersey_assets.storage.owner import DatasetRoot, claim\n"
        "from jersey_assets.storage.store import Store\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "claim(Store(sys.argv[1]), DatasetRoot(sys.argv[2]))\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, store.root, mine.root], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    root = tmp_path / "artifacts"
    (left,) = root.glob(".*.partial")
    theirs = root / ".download.partial"
    theirs.touch()
    claim(store, mine)
    assert owner(store) == mine
    assert not left.exists()
    assert theirs.exists()


def test_of_two_datasets_at_once_one_gets_the_root(
    store: Store, tmp_path: Path
) -> None:
    datasets = [folder(tmp_path / str(number)) for number in range(8)]

    def try_to(dataset: DatasetRoot) -> bool:
        try:
            claim(store, dataset)
        except OwnerError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(try_to, datasets))
    assert got.count(True) == 1
    assert owner(store) == datasets[got.index(True)]


def test_a_run_on_another_dataset_is_refused_before_it_reads_anything(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    artifacts, other = tmp_path / "artifacts", tmp_path / "other"
    first = run_graph(rendered, artifacts, instance, until="validated_annotations")
    assert first.success
    other.mkdir()
    (other / "train").symlink_to("nowhere")  # reading it would be told
    refused = run_graph(other, artifacts, instance, until="validated_annotations")
    (event,) = refused.get_step_failure_events()
    assert "is another one" in str(event.step_failure_data.error)
    assert materialized(refused) == set()
    hand_over(artifacts, other)
    after = run_graph(other, artifacts, instance, until="validated_annotations")
    assert "is another one" not in str(after.get_step_failure_events())


def test_a_folder_named_by_mistake_does_not_get_the_root(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    artifacts, empty = tmp_path / "artifacts", tmp_path / "empty"
    empty.mkdir()
    for mistaken in (empty, tmp_path / "typo"):
        result = run_graph(mistaken, artifacts, instance, until="class_mapping")
        assert not result.success
    until = "validated_annotations"
    assert run_graph(rendered, artifacts, instance, until=until).success
