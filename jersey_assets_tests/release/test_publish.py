"""Publishing: by the graph or without it, and what is noted beside a release."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets.definitions import defs
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.release.bundle import Candidate
from jersey_assets.release.gate import ReleaseError
from jersey_assets.release.publish import publish_or_keep
from jersey_assets.storage.answers import read_answers, write_answers
from jersey_assets.storage.manifest import Artifact, Origin
from jersey_assets.storage.retention import CHECKS
from jersey_assets.storage.store import Store
from jersey_assets.verdict import BLOCKING, Verdict
from jersey_assets_tests.release.candidates import decision, failure
from jersey_assets_tests.whole_graph import (
    check_results,
)


def test_the_first_model_is_published(whole_run) -> None:
    found = check_results(whole_run[0])
    first = found["released_model", "not_worse_than_current"]
    assert first.passed
    assert first.description == "there is no intact release to compare with"
    assert found["released_model", "better_than_one_answer"].passed
    assert decision(whole_run[0]).startswith("published, 2")


def forget(store: Store, artifact: Artifact) -> None:
    """As if the checks had not run."""
    path = Path(store.root) / artifact.asset / f"{artifact.version}{CHECKS}"
    path.unlink()


def fail(store: Store, artifact: Artifact) -> None:
    """As if one check had failed, in a run that stopped there."""
    said = [
        Verdict(name, name != "output_is_logits", "they are probabilities")
        for name in BLOCKING[artifact.asset]
    ]
    write_answers(store, artifact, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (forget, "has not run on this version"),
        (fail, "failed: they are probabilities"),
    ],
)
def test_a_check_that_failed_or_did_not_run_is_not_gone_round(
    store: Store,
    rendered: Path,
    instance: dg.DagsterInstance,
    change: Callable[[Store, Artifact], None],
    said: str,
) -> None:
    """The model is released alone, by somebody who did not wait for its checks."""
    change(store, store.require("onnx_model"))
    alone = dg.materialize(
        defs.assets,
        selection="released_model",
        instance=instance,
        resources={
            "dataset": Dataset(root=str(rendered)),
            "artifacts": Artifacts(root=store.root),
        },
        raise_on_error=False,
    )
    assert not alone.success
    assert f"output_is_logits of onnx_model {said}" in failure(alone)


def test_a_release_needs_no_dagster(
    store: Store, candidate: Candidate, rendered: Path
) -> None:
    shutil.rmtree(Path(store.root) / "released_model")

    def publish(write: Callable[[Path], None]) -> Artifact:
        origin = Origin("code", candidate.parts())
        return store.publish("released_model", origin, write, {"dataset": "data"})

    first = publish_or_keep(candidate, store, rendered, "first", publish)
    assert first.decision.startswith("published, ")
    assert first.standing() == store.require("released_model")
    second = publish_or_keep(candidate, store, rendered, "second", publish)
    assert second.decision.startswith("unchanged, ")
    assert second.standing() == first.standing()
    better, not_worse = second.verdicts
    unproved = replace(second, verdicts=(replace(better, passed=False), not_worse))
    for outcome in (unproved, replace(second, release=None)):
        with pytest.raises(ReleaseError, match="unchanged, "):
            outcome.standing()


def test_what_a_release_was_held_to_is_noted_beside_it(store: Store) -> None:
    said = read_answers(store, store.require("released_model"))
    assert said["better_than_one_answer"].passed
    assert said["not_worse_than_current"].passed
