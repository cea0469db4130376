"""What checks said about an artifact: whole, of its very bytes, gone with it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from jersey_assets.storage.answers import Answer, read_answers, write_answers
from jersey_assets.storage.store import Artifact, Origin, StorageError, Store
from jersey_assets.verdict import Verdict
from jersey_assets_tests.storage.stores import names_in, write_text

ASSET = "class_mapping"
CONTIGUOUS, COVERS = "mapping_is_contiguous", "mapping_covers_train"


def publish(store: Store, text: str) -> Artifact:
    return store.publish(ASSET, Origin(text), write_text(text))


def said(*passed: bool, message: str = "seen") -> list[Verdict]:
    names = (CONTIGUOUS, COVERS)
    return [
        Verdict(name, kept, message, facts={"seen": 1})
        for name, kept in zip(names, passed, strict=True)
    ]


def note_of(store: Store, artifact: Artifact) -> Path:
    return Path(store.root) / ASSET / f"{artifact.version}.checks.json"


def test_answers_are_read_back_with_all_that_a_release_needs(store: Store) -> None:
    made = publish(store, "a")
    assert read_answers(store, made) == {}
    extra = Verdict("worth_knowing", False, "rare", severity="warning")
    write_answers(store, made, [*said(True, False), extra])
    assert read_answers(store, made) == {
        CONTIGUOUS: Answer(CONTIGUOUS, True, "seen", "error", blocking=True),
        COVERS: Answer(COVERS, False, "seen", "error", blocking=True),
        "worth_knowing": Answer(
            "worth_knowing", False, "rare", "warning", blocking=False
        ),
    }
    # The artifact is what it was, and the only version.
    assert store.read(ASSET, made.version) == made
    assert store.versions(ASSET) == [made.version]


def test_checks_that_run_again_on_a_version_replace_all_that_they_said(
    store: Store,
) -> None:
    made = publish(store, "a")
    write_answers(store, made, said(False, True))
    write_answers(store, made, said(True, True)[:1])
    assert [a.passed for a in read_answers(store, made).values()] == [True]


def test_answers_hold_for_the_version_and_the_bytes_that_were_judged(
    store: Store,
) -> None:
    made = publish(store, "a")
    write_answers(store, made, said(True, True))
    assert read_answers(store, publish(store, "b")) == {}
    other = replace(made, manifest={**made.manifest, "digest": "0" * 64})
    assert read_answers(store, other) == {}


def test_answers_go_with_their_version(store: Store) -> None:
    for number in range(7):
        write_answers(store, publish(store, str(number)), said(True, True))
    kept = store.versions(ASSET)
    assert len(kept) < 7
    notes = {name for name in names_in(store, ASSET) if name.endswith(".checks.json")}
    # The newest version's own note was written after the others were pruned.
    assert notes == {f"{version}.checks.json" for version in kept}


def test_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    made = publish(store, "a")
    script = (
        "import os, sys\n"
        "from jersey_assets.storage.answers import write_answers\n"
        "from jersey_assets.storage.store import Store\n"
        "from jersey_assets.verdict import Verdict\n"
        "os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "store = Store(sys.argv[1])\n"
        "made = store.require('class_mapping')\n"
        "write_answers(store, made, [Verdict('mapping_covers_train', True, 'x')])\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert ended.returncode == -9
    assert read_answers(store, made) == {}
    assert any(name.endswith(".partial") for name in names_in(store, ASSET))
    publish(store, "b")
    assert names_in(store, ASSET) == {*store.versions(ASSET), "current.json"}


def test_two_runs_of_the_checks_at_a_time_leave_the_answers_of_one(
    store: Store,
) -> None:
    made = publish(store, "a")
    write_answers(store, made, said(True, True, message="first"))
    running = [
        threading.Thread(target=judge_again, args=(store, made, kept))
        for kept in (True, False)
    ]
    for thread in running:
        thread.start()
    while any(thread.is_alive() for thread in running):
        answers = read_answers(store, made).values()
        assert len(answers) == 2
        assert len({(answer.passed, answer.message) for answer in answers}) == 1
    for thread in running:
        thread.join()


def judge_again(store: Store, made: Artifact, kept: bool) -> None:
    for _ in range(20):
        write_answers(store, made, said(kept, kept, message=str(kept)))


@pytest.mark.parametrize(
    "change",
    [
        {"checks": None},
        {"checks": {CONTIGUOUS: None}},
        {"checks": {CONTIGUOUS: {"passed": True}}},
        {
            "checks": {
                CONTIGUOUS: {
                    "passed": "yes",
                    "message": "",
                    "severity": "error",
                    "blocking": True,
                }
            }
        },
    ],
)
def test_a_damaged_note_is_no_answer(tmp_path: Path, change: dict[str, object]) -> None:
    store = Store(str(tmp_path))
    made = publish(store, "a")
    write_answers(store, made, said(True, True))
    note = note_of(store, made)
    note.write_text(json.dumps(json.loads(note.read_bytes()) | change))
    with pytest.raises(StorageError, match=r"checks\.json is damaged.*run the checks"):
        read_answers(store, made)
    note.write_text("{")
    with pytest.raises(StorageError, match=r"checks\.json is damaged"):
        read_answers(store, made)


def test_two_answers_of_one_check_are_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    made = publish(store, "a")
    with pytest.raises(ValueError, match="two answers of mapping_is_contiguous"):
        write_answers(store, made, [*said(True, True), *said(True, True)])
    assert read_answers(store, made) == {}
