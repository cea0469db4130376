"""Only parts that belong together are released."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets.annotations.disk.errors import AnnotationError
from jersey_assets.release.bundle import Candidate
from jersey_assets.release.gate import ReleaseError, check_provenance, judge
from jersey_assets.storage.manifest import Origin
from jersey_assets.storage.store import Store
from jersey_assets_tests.release.candidates import BAD
from jersey_assets_tests.whole_graph import (
    run_graph,
)


def swap(data: Path, crop: Path, other: Path) -> None:
    crop.write_bytes(other.read_bytes())


def link_outside(data: Path, crop: Path, other: Path) -> None:
    outside = data.parent / "outside.jpg"
    crop.rename(outside)  # the very bytes, but where anybody may change them
    crop.symlink_to(outside)


def link_inside(data: Path, crop: Path, other: Path) -> None:
    crop.unlink()
    crop.symlink_to(other)


@pytest.mark.parametrize("change", [swap, link_outside, link_inside])
def test_a_crop_changed_after_its_validation_stops_the_gate_and_is_named(
    store: Store,
    candidate: Candidate,
    rendered: Path,
    tmp_path: Path,
    change: Callable[[Path, Path, Path], None],
) -> None:
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    crop, other = sorted((data / "test" / "crops").iterdir())[:2]
    change(data, crop, other)
    with pytest.raises(AnnotationError, match=f"test/crops/{crop.name}"):
        judge(candidate, None, store, data)


def test_parts_of_two_runs_are_not_released(
    store: Store, rendered: Path, candidate: Candidate, instance: dg.DagsterInstance
) -> None:
    run_graph(
        rendered, Path(store.root), instance, recipe=BAD, until="evaluation_report"
    )
    mixed = replace(candidate, evaluation=store.require("evaluation_report"))
    with pytest.raises(ReleaseError, match="materialize the whole chain again"):
        check_provenance(mixed, store)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passed": False}, "onnxruntime and PyTorch differ"),
        ({"model_sha256": "0" * 64}, "did not compare the files"),
    ],
)
def test_a_broken_parity_report_is_not_released(
    store: Store, candidate: Candidate, change: dict[str, object], message: str
) -> None:
    report = candidate.parity.json("report.json") | change
    inputs = tuple(
        store.read(asset, entry["version"])
        for asset, entry in candidate.parity.manifest["inputs"].items()
    )
    broken = store.publish(
        "parity_report",
        Origin("broken", inputs),
        lambda folder: (folder / "report.json").write_text(json.dumps(report)),
    )
    with pytest.raises(ReleaseError, match=message):
        check_provenance(replace(candidate, parity=broken), store)
