"""The annotations' part of the graph: what changed is seen, what is broken refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from jersey_assets.graph import annotations
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.storage.store import Store
from jersey_assets_tests.graph.datasets import rewrite
from jersey_assets_tests.whole_graph import (
    REAL_DATA,
    check_results,
    materialized,
    run_graph,
)


def test_the_annotations_are_linked_to_the_files_that_the_run_read(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    run_graph(rendered, tmp_path, instance, until="validated_annotations")
    summary = Store(str(tmp_path)).require("validated_annotations").json("summary.json")
    for asset in ("validated_annotations", "rejected_annotations"):
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        tags = event.asset_materialization.tags
        read = tags["dagster/input_data_version/annotation_files"]
        assert read == summary["fingerprint"]


def test_a_crop_replaced_behind_the_same_annotations_is_seen(
    data: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    artifacts = tmp_path / "artifacts"
    run_graph(data, artifacts, instance, until="validated_annotations")
    before = Store(str(artifacts)).require("validated_annotations")
    first, second = sorted((data / "train" / "crops").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    run_graph(data, artifacts, instance, until="validated_annotations")
    assert Store(str(artifacts)).require("validated_annotations") != before


def break_labels(data: Path) -> None:
    rewrite(data, "train", lambda n, row: row | {"suffix": "x"} if n % 3 == 0 else row)


def list_twice(data: Path) -> None:
    path = data / "train" / "annotations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    other = {"8": "9"}
    twice = [row | {"suffix": other.get(row["suffix"], "8")} for row in rows[:60]]
    path.write_text("\n".join(json.dumps(row) for row in rows + twice) + "\n")


def label_unseen(data: Path) -> None:
    rewrite(data, "valid", lambda n, row: row | {"suffix": "77"})


def leak(data: Path) -> None:
    for crop in (data / "train" / "crops").iterdir():
        shutil.copy(crop, data / "valid" / "crops" / f"copy-{crop.name}")
    train = (data / "train" / "annotations.jsonl").read_text()
    with (data / "valid" / "annotations.jsonl").open("a") as file:
        for line in train.splitlines()[:80]:
            row = json.loads(line)
            name = f"crops/copy-{Path(row['image']).name}"
            file.write(json.dumps(row | {"image": name}) + "\n")


def empty_valid(data: Path) -> None:
    shutil.rmtree(data / "valid")


@pytest.mark.parametrize(
    ("breaking", "check"),
    [
        (break_labels, "rejected_rows_within_budget"),
        (list_twice, "no_conflicting_labels"),
        (label_unseen, "labels_known_in_train"),
        (leak, "no_split_leakage"),
        (empty_valid, "every_split_has_rows"),
    ],
)
def test_a_broken_dataset_is_refused_before_anything_is_trained(
    data: Path, tmp_path: Path, instance: dg.DagsterInstance, breaking, check: str
) -> None:
    breaking(data)
    result = run_graph(data, tmp_path / "artifacts", instance)
    assert not result.success
    assert not check_results(result)["validated_annotations", check].passed
    assert materialized(result) == {"validated_annotations", "rejected_annotations"}


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no real data here")
@pytest.mark.parametrize("policy", ["reject", "prefer_number"])
def test_real_conflicts_are_named_and_no_image_is_lost(
    tmp_path: Path, policy: str
) -> None:
    result = dg.materialize(
        [annotations.annotation_files, annotations.annotations],
        resources={
            "dataset": Dataset(
                root=str(REAL_DATA / "basketball"), conflict_policy=policy
            ),
            "artifacts": Artifacts(root=str(tmp_path)),
        },
    )
    assert result.success
    store = Store(str(tmp_path))
    kept = pd.read_parquet(
        store.require("validated_annotations").file("annotations.parquet")
    )
    rejected = pd.read_parquet(
        store.require("rejected_annotations").file("rejected.parquet")
    )
    conflicts = rejected[rejected["reason"] == "label.conflict"]
    assert conflicts["line"].min() > 0
    if policy == "reject":
        assert (len(kept), len(conflicts)) == (3208, 94)
    else:
        assert (len(kept), len(conflicts)) == (2891 + 364, 47)
        assert set(conflicts["label"]) == {""}
