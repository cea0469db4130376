"""A run up to the training that waits to be stopped in its second epoch.

Run as `python -m jersey_assets_tests.stopped DATA ARTIFACTS`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from jersey_assets.definitions import defs
from jersey_assets.graph.resources import Artifacts, Dataset

RECIPE = {
    "image_size": 32,
    "batch_size": 8,
    "epochs": 4,
    "learning_rate": 0.002,
    "threads": 1,
}
STOPPED_AT = 1, 3
WAITING = "waiting in the second epoch"


def train(
    data: Path, artifacts: Path, instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    """Materializes what the training needs, and the training."""
    return dg.materialize(
        defs.assets or (),
        selection=dg.AssetSelection.assets("trained_checkpoint")
        .upstream()
        .required_multi_asset_neighbors(),
        instance=instance,
        resources={
            "dataset": Dataset(root=str(data)),
            "artifacts": Artifacts(root=str(artifacts)),
        },
        run_config={"ops": {"trained_checkpoint": {"config": RECIPE}}},
        raise_on_error=False,
    )


def main(data: Path, artifacts: Path) -> bool:
    from jersey_assets.training.module import TrainingModule

    step = TrainingModule.training_step

    def waiting(module: TrainingModule, batch: Any, index: int) -> Any:
        if (module.current_epoch, index) == STOPPED_AT:
            print(WAITING, flush=True)
            time.sleep(1)  # a signal ends the sleep only when it is over
        return step(module, batch, index)

    TrainingModule.training_step = waiting  # type: ignore[method-assign]
    with dg.DagsterInstance.get() as instance:
        return train(data, artifacts, instance).success


if __name__ == "__main__":
    sys.exit(not main(Path(sys.argv[1]), Path(sys.argv[2])))
