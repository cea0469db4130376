"""Each blocking check of an artifact fails on a broken one and stops what follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from jersey_assets.graph import export, labels, release, training
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.storage.manifest import Origin
from jersey_assets.storage.store import Store
from jersey_assets.training.checkpoint import Checkpoint, load_checkpoint
from jersey_assets_tests.whole_graph import check_results, materialized

CHECKS = {
    "class_mapping": labels.class_mapping_checks,
    "trained_checkpoint": training.checkpoint_checks,
    "onnx_model": export.onnx_checks,
    "parity_report": export.parity_checks,
    "int8_model": export.int8_checks,
}
NEXT = {
    "class_mapping": training.trained_checkpoint,
    "trained_checkpoint": export.onnx_model,
    "onnx_model": export.parity_report,
    "parity_report": release.released_model,
    "int8_model": labels.dataset_statistics,
}


@pytest.fixture(scope="module")
def good(whole_run) -> Path:
    """The artifacts of a whole run."""
    assert whole_run[0].success
    return whole_run[1]


def edit_json(name: str, change: Callable[[dict], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return edit


def edit_checkpoint(
    change: Callable[[Checkpoint], Checkpoint],
) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "model.ckpt"
        change(load_checkpoint(path)).save(path)

    return edit


def edit_model(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "model.onnx"
        model = onnx.load(path)
        change(model)
        onnx.save(model, path)

    return edit


def with_nan(checkpoint: Checkpoint) -> Checkpoint:
    state = {name: value.clone() for name, value in checkpoint.state_dict.items()}
    name = next(name for name in state if name.endswith("weight"))
    state[name].view(-1)[0] = torch.nan
    return replace(checkpoint, state_dict=state)


def with_raw_weights(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, state_dict=checkpoint.raw_state_dict)


def append_softmax(model: onnx.ModelProto) -> None:
    last = next(node for node in model.graph.node if "logits" in node.output)
    last.output[:] = ["scores"]
    model.graph.node.append(helper.make_node("Softmax", ["scores"], ["logits"]))


def fix_batch_inside(model: onnx.ModelProto) -> None:
    """The signature still says batch; a reshape inside allows one row only."""
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    last = next(node for node in model.graph.node if "logits" in node.output)
    last.output[:] = ["scores"]
    shape = numpy_helper.from_array(
        torch.tensor([1, classes]).numpy(), "one_row_of_scores"
    )
    model.graph.initializer.append(shape)
    model.graph.node.append(
        helper.make_node("Reshape", ["scores", shape.name], ["logits"])
    )


def rename_output(model: onnx.ModelProto) -> None:
    last = next(node for node in model.graph.node if "logits" in node.output)
    last.output[:] = ["output"]
    model.graph.output[0].name = "output"


def drop_a_weight(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0]


def double_a_weight(model: onnx.ModelProto) -> None:
    weights = model.graph.initializer
    tensor = next(t for t in weights if t.data_type == TensorProto.FLOAT)
    doubled = 2 * numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(doubled, tensor.name))


def classes(change: Callable[[dict], None]) -> Callable[[dict], None]:
    """Changes which class a label has, in all parts of a labels file."""

    def edit(content: dict) -> None:
        found = content["class_to_idx"]
        change(found)
        content["idx_to_class"] = {str(i): label for label, i in found.items()}
        content["num_classes"] = len(found)

    return edit


def swap_labels(mapping: dict) -> None:
    first, second = list(mapping)[:2]
    mapping[first], mapping[second] = mapping[second], mapping[first]


def skip_an_index(mapping: dict) -> None:
    mapping[list(mapping)[-1]] += 1


def forget_a_label(mapping: dict) -> None:
    mapping.pop(list(mapping)[-1])


def disagree(report: dict) -> None:
    """One crop that both were sure of, and read differently."""
    case = {"image": "a.jpg", "onnx": "3", "torch": "8", "margin": 2.0}
    report["disagreements"].append(case)


def run_with_broken(
    asset: str,
    edit: Callable[[Path], None],
    good: Path,
    rendered: Path,
    folder: Path,
    instance: dg.DagsterInstance,
) -> dg.ExecuteInProcessResult:
    """Publishes a broken artifact, whole as far as the store can tell."""
    store = Store(str(shutil.copytree(good, folder / "artifacts")))
    whole = store.require(asset)

    def make(made: Path) -> None:
        for name in whole.manifest["files"]:
            shutil.copy(whole.file(name), made / name)
        edit(made)

    inputs = [
        store.read(name, entry["version"])
        for name, entry in whole.manifest["inputs"].items()
    ]

    @dg.asset(name=asset, deps=list(whole.manifest["inputs"]))
    def broken() -> dg.MaterializeResult:
        store.publish(asset, Origin("broken", tuple(inputs)), make, {"run_id": ""})
        return dg.MaterializeResult()

    return dg.materialize(
        [broken, CHECKS[asset], NEXT[asset]],
        instance=instance,
        resources={
            "dataset": Dataset(root=str(rendered)),
            "artifacts": Artifacts(root=store.root),
        },
        raise_on_error=False,
    )


@pytest.mark.parametrize(
    ("asset", "check", "edit"),
    [
        (
            "class_mapping",
            "mapping_is_contiguous",
            edit_json("labels_mapping.json", classes(skip_an_index)),
        ),
        (
            "class_mapping",
            "mapping_covers_train",
            edit_json("labels_mapping.json", classes(forget_a_label)),
        ),
        ("trained_checkpoint", "weights_are_finite", edit_checkpoint(with_nan)),
        (
            "trained_checkpoint",
            "checkpoint_holds_ema_weights",
            edit_checkpoint(with_raw_weights),
        ),
        ("onnx_model", "output_is_logits", edit_model(append_softmax)),
        ("onnx_model", "output_is_logits", edit_model(rename_output)),
        ("onnx_model", "batch_axis_is_dynamic", edit_model(fix_batch_inside)),
        ("onnx_model", "graph_is_valid", edit_model(drop_a_weight)),
        ("onnx_model", "weights_match_checkpoint", edit_model(double_a_weight)),
        (
            "onnx_model",
            "labels_match_class_mapping",
            edit_json("labels_mapping.json", classes(swap_labels)),
        ),
        (
            "parity_report",
            "logits_within_tolerance",
            edit_json("report.json", lambda report: report.update(max_abs_error=0.5)),
        ),
        (
            "parity_report",
            "logits_within_tolerance",
            edit_json("report.json", lambda report: report.update(max_abs_error=None)),
        ),
        (
            "parity_report",
            "top1_agrees",
            edit_json("report.json", disagree),
        ),
        (
            "parity_report",
            "batch_independent",
            edit_json(
                "report.json",
                lambda report: report["per_batch_size"][0].update(max_change=1.0),
            ),
        ),
    ],
)
def test_a_broken_artifact_fails_its_check_and_stops_what_follows(
    good: Path,
    rendered: Path,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    asset: str,
    check: str,
    edit: Callable[[Path], None],
) -> None:
    result = run_with_broken(asset, edit, good, rendered, tmp_path, instance)
    found = check_results(result)
    assert not found[asset, check].passed, found[asset, check].description
    assert not result.success
    following = NEXT[asset].key
    assert following not in {
        event.asset_key for event in result.get_asset_materialization_events()
    }


@pytest.mark.parametrize(
    ("check", "edit"),
    [
        ("int8_contract_holds", edit_model(append_softmax)),
        (
            "int8_close_to_float",
            edit_json("report.json", lambda report: report.update(sqnr_db=3.0)),
        ),
        (
            "int8_accuracy_kept",
            edit_json("report.json", lambda report: report.update(only_float_right=9)),
        ),
    ],
)
def test_a_broken_int8_model_fails_its_check_and_stops_nothing(
    good: Path,
    rendered: Path,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    check: str,
    edit: Callable[[Path], None],
) -> None:
    result = run_with_broken("int8_model", edit, good, rendered, tmp_path, instance)
    assert not check_results(result)["int8_model", check].passed
    assert result.success
    assert "dataset_statistics" in materialized(result)
