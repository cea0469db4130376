"""Releases one after the other: going back, withdrawing, standing."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets.release.bundle import Candidate
from jersey_assets.release.gate import judge
from jersey_assets.release.releases import (
    one_release_at_a_time,
    roll_back,
    standing_release,
    weights_of,
    withdrawals,
)
from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.manifest import Artifact
from jersey_assets.storage.store import Store
from jersey_assets_tests.release.candidates import decision
from jersey_assets_tests.whole_graph import (
    GOOD_RECIPE,
    check_results,
    run_graph,
)


def test_a_run_that_changes_nothing_does_not_undo_a_rollback(
    store: Store,
    candidate: Candidate,
    other_release: Artifact,
    rendered: Path,
    instance: dg.DagsterInstance,
) -> None:
    left = store.require("released_model")
    roll_back(store, other_release.version)
    result = run_graph(rendered, Path(store.root), instance, recipe=GOOD_RECIPE)
    assert result.success
    assert store.require("released_model").version == other_release.version
    assert left.version in decision(result)
    assert f"releases rollback {left.version}" in decision(result)

    roll_back(store, left.version)
    assert all(v.passed for v in judge(candidate, left, store, rendered))


def test_of_two_candidates_the_second_is_judged_against_what_the_first_published(
    store: Store,
    other_release: Artifact,
    rendered: Path,
    instance: dg.DagsterInstance,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = Path(store.root)
    caplog.set_level(logging.INFO, "jersey_assets.storage.lock")
    with ThreadPoolExecutor(1) as pool:
        with one_release_at_a_time(store, "the first"):
            second = pool.submit(run_graph, rendered, root, instance, GOOD_RECIPE)
            while "held by" not in caplog.text:
                assert not second.done()
                time.sleep(0.1)
            store.point("released_model", other_release.version)
        result = second.result()
    assert result.success
    found = check_results(result)["released_model", "not_worse_than_current"]
    assert found.metadata["current_version"].value == other_release.version


def test_going_back_withdraws_all_later_releases_and_taking_back_only_one(
    store: Store, candidate: Candidate, other_release: Artifact
) -> None:
    first = store.require("released_model")
    assert first.version < other_release.version
    roll_back(store, other_release.version)
    assert set(withdrawals(store)) == {weights_of(first)}
    roll_back(store, first.version)
    assert set(withdrawals(store)) == {weights_of(other_release)}
    with pytest.raises(StorageError, match="has no version"):
        roll_back(store, "../trained_checkpoint")
    assert set(withdrawals(store)) == {weights_of(other_release)}


def test_a_candidate_has_to_beat_the_release_before_a_damaged_one(
    store: Store, other_release: Artifact
) -> None:
    damaged = store.require("released_model")
    damaged.file("model.onnx").write_bytes(b"")
    standing = standing_release(store)
    assert standing is not None
    assert standing.version == other_release.version
    assert store.require("released_model").version == other_release.version
    other_release.file("model.onnx").write_bytes(b"")
    assert standing_release(store) is None
