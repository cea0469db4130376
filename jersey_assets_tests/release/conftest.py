"""The artifacts of a whole run, and a second release beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jersey_assets.release.bundle import Candidate, write_bundle
from jersey_assets.storage.manifest import Artifact, Origin
from jersey_assets.storage.store import Store


@pytest.fixture
def store(whole_run, tmp_path: Path) -> Store:
    assert whole_run[0].success
    return Store(str(shutil.copytree(whole_run[1], tmp_path / "artifacts")))


@pytest.fixture
def candidate(store: Store) -> Candidate:
    return Candidate(
        annotations=store.require("validated_annotations"),
        class_mapping=store.require("class_mapping"),
        checkpoint=store.require("trained_checkpoint"),
        evaluation=store.require("evaluation_report"),
        onnx_model=store.require("onnx_model"),
        parity=store.require("parity_report"),
    )


@pytest.fixture
def other_release(store: Store, candidate: Candidate) -> Artifact:
    """A release of the same files, made from other weights."""
    weights = store.publish(
        "trained_checkpoint",
        Origin("other"),
        lambda folder: (folder / "model.ckpt").write_text("other"),
    )
    before = store.require("released_model")
    made = store.publish(
        "released_model",
        Origin("other", (weights,)),
        lambda folder: write_bundle(candidate, folder),
        {"dataset": "rendered", "run_id": ""},
    )
    store.point("trained_checkpoint", candidate.checkpoint.version)
    store.point("released_model", before.version)
    return made
