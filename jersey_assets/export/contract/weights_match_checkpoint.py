"""weights_match_checkpoint: the file holds the checkpoint's averaged weights.

A file could hold the weights before averaging, or other ones; both the answers and the
values of the tensors are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from jersey_assets.export.contract.judging import judge
from jersey_assets.export.contract.observation import Observation
from jersey_assets.export.file_metadata import describe
from jersey_assets.export.tolerance import (
    Numbers,
    largest_error,
    rounding_tolerance,
    within,
)
from jersey_assets.reader.file_metadata import ModelError, ModelMetadata, read_metadata
from jersey_assets.text import shorten
from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint

# Rows that are also scored in float64, ten times slower, to measure rounding.
_DOUBLE_ROWS = slice(None, None, 5)
# Largest change by another order of folding, as a share of the largest weight.
_FOLDING = 1e-5


def reference_scores(
    checkpoint: Checkpoint | None, seen: Observation
) -> Numbers | None:
    """The averaged weights' logits for all pictures, if they can be compared."""
    if checkpoint is None or seen.unanswered() or _other_size(seen, checkpoint):
        return None
    return _torch_scores(checkpoint, seen.answers["rows"])


def judge_weights(
    seen: Observation, checkpoint: Checkpoint, averaged: Numbers | None
) -> Verdict:
    """Judges whose weights they are.

    Args:
        seen: of the model.
        checkpoint: what it was exported from.
        averaged: as `reference_scores` returns them.
    """
    name = "weights_match_checkpoint"
    answer = seen.scores()
    if averaged is None or answer is None:
        return judge(name, seen.unanswered() or _other_size(seen, checkpoint))
    rows, logits = answer[0].rows, answer[1]
    if logits.shape != (len(rows), averaged.shape[1]):
        expected = (len(rows), averaged.shape[1])
        return judge(name, [f"the scores are {logits.shape}; expected {expected}"])
    inputs = seen.answers["rows"]
    exact = _torch_scores(checkpoint, inputs[_DOUBLE_ROWS], double=True)
    tolerance = rounding_tolerance(averaged[_DOUBLE_ROWS], exact)
    raw = _torch_scores(checkpoint, inputs, raw=True)[rows]
    averaged = averaged[rows]
    changed, identical = _compare_tensors(seen, checkpoint)
    faults = _weight_faults(logits, averaged, raw, tolerance)
    faults += changed + _origin_faults(seen, checkpoint)
    facts = {
        "error_to_averaged": largest_error(logits, averaged),
        "error_to_raw": largest_error(logits, raw),
        "averaged_to_raw": largest_error(averaged, raw),
        "tolerance": tolerance,
        "identical": identical,
    }
    return judge(name, faults, lambda: _praise(seen, facts), facts)


def _praise(seen: Observation, facts: Mapping[str, Any]) -> str:
    said = (
        f"within {facts['error_to_averaged']:.2g} of the checkpoint's averaged weights "
        f"(allowed {facts['tolerance']:.2g}); the raw ones are "
        f"{facts['error_to_raw']:.2g} away; "
    )
    if not facts["identical"]:
        return said + (
            "this version would export it differently, so only its answers were judged"
        )
    return said + (
        f"its {len(seen.weights)} tensors equal the averaged ones, and it has as many "
        f"operators ({seen.operators}) as the network"
    )


def _other_size(seen: Observation, checkpoint: Checkpoint) -> list[str]:
    """Reports if the model's input size is not the checkpoint's."""
    height, width = seen.answers["rows"].shape[2:]
    size = checkpoint.image_size
    if (height, width) == (size, size):
        return []
    return [f"it takes {height} x {width} px, the checkpoint {size} x {size}"]


def _torch_scores(
    checkpoint: Checkpoint, rows: Numbers, *, raw: bool = False, double: bool = False
) -> Numbers:
    import torch

    model, inputs = checkpoint.build_model(raw=raw), torch.from_numpy(rows)
    if double:
        model, inputs = model.double(), inputs.double()
    with torch.inference_mode():
        scores: Numbers = model(inputs).double().numpy()
    return scores


def _compare_tensors(
    seen: Observation, checkpoint: Checkpoint
) -> tuple[list[str], bool]:
    """Compares the file's tensors with the checkpoint's, also unused ones.

    Returns:
        what is wrong with tensors that have a name of the checkpoint's, and whether
        the file holds exactly what exporting the checkpoint again would give.
    """
    from jersey_assets.export.folding import count_operators, fold

    network = checkpoint.build_model()
    folded = fold(network)
    trained = {name: value.numpy() for name, value in network.state_dict().items()}
    exported = {name: value.numpy() for name, value in folded.state_dict().items()}
    faults, alike = [], set()
    for name, values in seen.weights.items():
        # Another exporter may not fold normalization.
        known = [own[name] for own in (exported, trained) if name in own]
        known = [own for own in known if own.shape == values.shape]
        if known and _same_tensor(values, known[0]):
            alike.add(name)
        elif known and not _same_tensor(values, known[-1]):
            error = largest_error(values, known[-1])
            faults.append(
                f'weights "{shorten(name)}" differ from the checkpoint\'s averaged '
                f"ones of that name by up to {error:.2g}"
            )
    # The exporter leaves out a bias of zeros.
    needed = {name for name, values in exported.items() if values.any()}
    identical = (
        not faults
        and needed <= alike == set(seen.weights)
        and seen.operators == count_operators(folded)
    )
    return faults, identical


def _same_tensor(values: Numbers, known: Numbers) -> bool:
    return within(values, known, _FOLDING * float(np.abs(known).max(initial=0)))


def _weight_faults(
    logits: Numbers, averaged: Numbers, raw: Numbers, tolerance: float
) -> list[str]:
    error, raw_error = largest_error(logits, averaged), largest_error(logits, raw)
    # If both weights give the same scores, only rounding decides which is nearer.
    if within(logits, raw, tolerance) and 4 * raw_error < error:
        return [
            "it holds the weights before averaging: its scores are within "
            f"{raw_error:.2g} of the raw weights', {error:.2g} from the averaged ones"
        ]
    if within(logits, averaged, tolerance):
        return []
    faults = [
        f"its scores are up to {error:.2g} from the checkpoint's averaged weights; "
        f"allowed is {tolerance:.2g}"
    ]
    if within(np.sort(logits), np.sort(averaged), tolerance):
        faults.append("the classes are not in the checkpoint's order")
    return faults


def _origin_faults(seen: Observation, checkpoint: Checkpoint) -> list[str]:
    """Compares the metadata with the checkpoint, above all the preprocessing."""
    try:
        metadata = read_metadata(seen.properties)
    except ModelError as error:
        return [str(error)]
    true = describe(checkpoint)
    return [
        f"the metadata says {f.name} {getattr(metadata, f.name)!r}, the checkpoint "
        f"{getattr(true, f.name)!r}"
        for f in fields(ModelMetadata)
        if f.name != "labels" and getattr(metadata, f.name) != getattr(true, f.name)
    ]
