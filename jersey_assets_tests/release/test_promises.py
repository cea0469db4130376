"""Only what every blocking check has passed, as it lies there, is released."""

from __future__ import annotations

from pathlib import Path

import pytest

from jersey_assets.definitions import defs
from jersey_assets.release.promises import unkept_promises
from jersey_assets.storage.answers import write_answers
from jersey_assets.storage.store import Artifact, Origin, Store
from jersey_assets.verdict import BLOCKING, Verdict


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def publish(store: Store, asset: str, text: str = "a") -> Artifact:
    return store.publish(
        asset, Origin(text), lambda folder: (folder / "a.txt").write_text(text)
    )


def judge(store: Store, artifact: Artifact, **failed: str) -> None:
    """Notes that all blocking checks passed, save those that say why they did not."""
    names = BLOCKING[artifact.asset]
    write_answers(
        store,
        artifact,
        [Verdict(name, name not in failed, failed.get(name, "held")) for name in names],
    )


def test_the_checks_that_block_are_those_that_stop_dagster() -> None:
    graph = defs.resolve_asset_graph()
    blocking: dict[str, set[str]] = {}
    for key in graph.asset_check_keys:
        if graph.get_check_spec(key).blocking:
            blocking.setdefault(key.asset_key.to_user_string(), set()).add(key.name)
    assert blocking == {asset: set(names) for asset, names in BLOCKING.items()}


def test_nothing_is_unkept_where_all_blocking_checks_passed(store: Store) -> None:
    made = [publish(store, asset) for asset in BLOCKING]
    for artifact in made:
        judge(store, artifact)
    assert unkept_promises(store, made) == []
    # An asset that nothing blocks for promises nothing.
    assert unkept_promises(store, [publish(store, "evaluation_report")]) == []


def test_every_check_that_has_not_run_is_named(store: Store) -> None:
    made = publish(store, "parity_report")
    assert unkept_promises(store, [made]) == [
        f"{name} of parity_report has not run on this version"
        for name in ("logits_within_tolerance", "top1_agrees", "batch_independent")
    ]
    write_answers(store, made, [Verdict("top1_agrees", True, "held")])
    assert len(unkept_promises(store, [made])) == 2


def test_a_failed_check_says_what_it_saw(store: Store) -> None:
    made = [publish(store, asset) for asset in ("class_mapping", "parity_report")]
    judge(store, made[0])
    judge(store, made[1], top1_agrees="3 of 9\u2028differ")
    assert unkept_promises(store, made) == [
        "top1_agrees of parity_report failed: 3 of 9\\u2028differ"
    ]
    # Run again, and held.
    judge(store, made[1])
    assert unkept_promises(store, made) == []


def test_a_warning_of_a_blocking_check_stops_nothing(store: Store) -> None:
    made = publish(store, "class_mapping")
    said = [
        Verdict(name, False, "within the budget", severity="warning")
        for name in BLOCKING["class_mapping"]
    ]
    write_answers(store, made, said)
    assert unkept_promises(store, [made]) == []


def test_what_another_version_was_told_counts_for_nothing(store: Store) -> None:
    before = publish(store, "class_mapping")
    judge(store, before)
    after = publish(store, "class_mapping", "b")
    assert len(unkept_promises(store, [after])) == 2
    judge(store, after, mapping_covers_train="it lacks 7")
    assert unkept_promises(store, [before]) == []
