"""labels_match_class_mapping: the same labels in model, checkpoint and labels files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from jersey_assets.export.contract.judging import judge
from jersey_assets.export.contract.observation import Observation
from jersey_assets.export.file_metadata import mapping_of
from jersey_assets.labels.file import (
    LABELS_FILE,
    LabelsError,
    LabelsFile,
    Normalization,
    read_labels,
)
from jersey_assets.reader.file_metadata import ModelError, ModelMetadata, read_metadata
from jersey_assets.text import count, shorten
from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint


def judge_labels(
    model: Path,
    seen: Observation,
    checkpoint: Checkpoint | None,
    labels: LabelsFile | None,
) -> Verdict:
    """Judges the labels, and the normalization that `labels_mapping.json` repeats."""
    name = "labels_match_class_mapping"
    if not seen.outputs:
        return judge(name, seen.unanswered())
    try:
        metadata = read_metadata(seen.properties)
        sidecar = _read_sidecar(model.parent / LABELS_FILE)
    except (ModelError, LabelsError) as error:
        return judge(name, [str(error)])
    others = {
        "the checkpoint": LabelsFile(mapping_of(checkpoint.labels))
        if checkpoint
        else None,
        "the class mapping": labels,
        f"{LABELS_FILE} beside it": sidecar,
    }
    found = {where: other for where, other in others.items() if other is not None}
    faults = _class_count_faults(seen, metadata)
    for where, other in found.items():
        faults += _label_faults(metadata, other, where)
    if sidecar is not None and sidecar.normalization is None:
        faults.append(f"{LABELS_FILE} beside it has no normalization")
    praise = f"{count(len(metadata.labels), 'label')} in class order, one score each"
    if found:
        praise += f"; the same as in {', '.join(found)}"
    return judge(name, faults, lambda: praise)


def _class_count_faults(seen: Observation, metadata: ModelMetadata) -> list[str]:
    count = len(metadata.labels)
    widths = {seen.outputs[0][2][-1]} if seen.outputs[0][2] else set()
    answer = seen.scores()
    if answer is not None:
        widths.add(answer[1].shape[-1])
    wrong = [w for w in widths if isinstance(w, int) and w != count]
    return [f"there are {wrong[0]} scores for {count} labels"] if wrong else []


def _label_faults(metadata: ModelMetadata, other: LabelsFile, where: str) -> list[str]:
    """Compares labels, and the normalization if the other file has one."""
    known, faults = mapping_of(metadata.labels), []
    differing = sorted(
        label
        for label in known.keys() | other.classes.keys()
        if known.get(label) != other.classes.get(label)
    )
    if differing:
        first = differing[0]
        faults.append(
            f"{count(len(differing), 'label differs', 'labels differ')} from {where}: "
            f"{shorten(repr(first))} is "
            f"class {known.get(first)} in the model, {other.classes.get(first)} there"
        )
    own = Normalization(metadata.mean, metadata.std)
    if other.normalization not in (None, own):
        faults.append(
            f"the normalization is {own.mean}, {own.std} in the model and "
            f"{other.normalization.mean}, {other.normalization.std} in {where}"
        )
    return faults


def _read_sidecar(path: Path) -> LabelsFile | None:
    """Reads the labels beside a model; an unreadable file is an error, not absent."""
    return read_labels(path) if os.path.lexists(path) else None
