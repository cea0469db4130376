"""Checks a model file against its contract; each check has a file in this folder.

`sandbox.py` opens the model in a child process and records its answers, which the
checks judge.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jersey_assets.export.contract.batch_axis_is_dynamic import judge_batches
from jersey_assets.export.contract.graph_is_valid import judge_graph
from jersey_assets.export.contract.int8_contract_holds import judge_int8
from jersey_assets.export.contract.labels_match_class_mapping import judge_labels
from jersey_assets.export.contract.observation import Observation
from jersey_assets.export.contract.output_is_logits import judge_logits
from jersey_assets.export.contract.sandbox import Limits, observe
from jersey_assets.export.contract.weights_match_checkpoint import (
    judge_weights,
    reference_scores,
)
from jersey_assets.labels.file import LabelsFile
from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint


def check_model(
    model: Path,
    checkpoint: Checkpoint | None = None,
    labels: LabelsFile | None = None,
    limits: Limits | None = None,
) -> list[Verdict]:
    """Runs all checks of a model file; the file may be hostile.

    Args:
        model: the ONNX file; a `labels_mapping.json` beside it is checked too.
        checkpoint: what it was exported from, if known.
        labels: of another labels file, such as the graph's `class_mapping`.
        limits: time and memory that opening it may take.

    Returns:
        See `judge_model`.
    """
    return judge_model(model, observe(model, limits), checkpoint, labels)


def judge_model(
    model: Path,
    seen: Observation,
    checkpoint: Checkpoint | None,
    labels: LabelsFile | None,
) -> list[Verdict]:
    """Judges what was seen of a model; for the arguments see `check_model`.

    Returns:
        graph_is_valid, output_is_logits, batch_axis_is_dynamic, with a checkpoint
        weights_match_checkpoint, and labels_match_class_mapping.
    """
    reference = reference_scores(checkpoint, seen)
    verdicts = [judge_graph(seen), judge_logits(seen, reference), judge_batches(seen)]
    if checkpoint is not None:
        verdicts.append(judge_weights(seen, checkpoint, reference))
    verdicts.append(judge_labels(model, seen, checkpoint, labels))
    return verdicts


def check_quantized(
    model: Path, labels: LabelsFile, limits: Limits | None = None
) -> Verdict:
    """Runs the check of an int8 model; the file may be hostile.

    Args:
        model: the ONNX file.
        labels: of the graph's `class_mapping`.
        limits: time and memory that opening it may take.

    Returns:
        int8_contract_holds.
    """
    return judge_int8(model, observe(model, limits), labels)
