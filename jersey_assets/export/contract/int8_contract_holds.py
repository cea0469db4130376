"""int8_contract_holds: the int8 model keeps the contract and has 8-bit weights."""

from __future__ import annotations

from pathlib import Path

from jersey_assets.export.contract.batch_axis_is_dynamic import (
    batch_faults,
    batch_praise,
)
from jersey_assets.export.contract.graph_is_valid import graph_faults
from jersey_assets.export.contract.judging import judge
from jersey_assets.export.contract.labels_match_class_mapping import judge_labels
from jersey_assets.export.contract.observation import Observation
from jersey_assets.export.contract.output_is_logits import logits_praise, value_faults
from jersey_assets.labels.file import LabelsFile
from jersey_assets.verdict import Verdict

# The last layer of an int8 model may stay in float; a small network has little else.
_INT8_SHARE = 0.5


def judge_int8(model: Path, seen: Observation, labels: LabelsFile) -> Verdict:
    """Judges an int8 model; for the arguments see `check.judge_model`.

    The contract is the float model's, except for the comparison with the checkpoint,
    whose weights are not rounded, and for NaN, which integers do not have.
    """
    mapping = judge_labels(model, seen, None, labels)
    faults = [
        *graph_faults(seen),
        *value_faults(seen, None),
        *batch_faults(seen),
        *([] if mapping.passed else [mapping.message]),
    ]
    if not seen.faults and seen.int8_share < _INT8_SHARE:
        faults.append(
            f"{seen.int8_share:.0%} of the weights have 8 bits; "
            f"expected at least {_INT8_SHARE:.0%}"
        )
    return judge(
        "int8_contract_holds",
        list(dict.fromkeys(faults)),
        lambda: (
            f"{seen.int8_share:.0%} of the weights have 8 bits; "
            f"{logits_praise(seen)}; {batch_praise(seen)}; {mapping.message}"
        ),
    )
