"""Assets class_mapping, dataset_statistics, rendered_crops, with checks and pages."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from jersey_assets.graph.asset_io import AssetIO
from jersey_assets.graph.config import Settings
from jersey_assets.graph.parts import (
    Page,
    answers,
    check_specs,
    pictures_of,
    table_of,
)
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.graph.tags import OWNERS
from jersey_assets.labels.file import read_classes, write_labels
from jersey_assets.labels.filling import Filling
from jersey_assets.runs.timeouts import OP_HOURS, within
from jersey_assets.storage.code_version import code_version
from jersey_assets.storage.manifest import Artifact
from jersey_assets.text import count


@dg.asset(
    deps=["validated_annotations"],
    code_version=code_version("labels.mapping", "labels.file"),
    kinds={"json"},
    owners=OWNERS,
)
@within(OP_HOURS)
def class_mapping(
    context: dg.AssetExecutionContext, artifacts: Artifacts
) -> dg.MaterializeResult:
    """Label → class index: the labels of the train split, sorted as strings.

    If "" (no readable number) is a label, it is class 0. The mapping is stored in
    the checkpoint, inside the ONNX file and beside it.
    """
    import pandas as pd

    from jersey_assets.labels.mapping import class_mapping

    io = AssetIO(context, artifacts)
    table = io.read("validated_annotations").file("annotations.parquet")

    def write(folder: Path) -> None:
        write_labels(list(class_mapping(pd.read_parquet(table))), folder)

    return io.publish(write, mapping_page)


def mapping_page(artifact: Artifact) -> Page:
    mapping = read_classes(artifact.folder)
    return {
        "headline": count(len(mapping), "class", "classes"),
        "num_classes": len(mapping),
        "classes": table_of(
            {"class index": index, "label": json.dumps(label)}
            for label, index in mapping.items()
        ),
    }


@dg.multi_asset_check(
    specs=check_specs(
        "class_mapping",
        {
            "mapping_is_contiguous": "The class indices are 0, 1, 2, … without a gap.",
            "mapping_covers_train": "The labels are exactly those of train.",
        },
    )
)
@within(OP_HOURS)
def class_mapping_checks(artifacts: Artifacts) -> Iterator[dg.AssetCheckResult]:
    import pandas as pd

    from jersey_assets.labels.mapping import verdicts

    store = artifacts.store()
    made = store.require("class_mapping")
    mapping = read_classes(made.folder)
    table = store.require("validated_annotations").file("annotations.parquet")
    yield from answers(store, made, verdicts(mapping, pd.read_parquet(table)))


@dg.asset(
    deps=["validated_annotations"],
    code_version=code_version("labels.statistics"),
    kinds={"json", "matplotlib"},
    owners=OWNERS,
)
@within(OP_HOURS)
def dataset_statistics(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> dg.MaterializeResult:
    """Statistics of the dataset: counts per class and split, imbalance, crop sizes,
    channel mean and deviation (the normalization), metadata distributions.
    """
    import pandas as pd

    from jersey_assets.labels.statistics import dataset_statistics, write_statistics

    root = dataset.open(artifacts).path
    io = AssetIO(context, artifacts)
    table = io.read("validated_annotations").file("annotations.parquet")

    def write(folder: Path) -> None:
        rows = pd.read_parquet(table)
        write_statistics(dataset_statistics(root, rows), rows, folder)

    return io.publish(write, statistics_page)


def statistics_page(artifact: Artifact) -> Page:
    statistics = artifact.json("statistics.json")
    return {
        "headline": f"imbalance {statistics['imbalance']:.0f}:1",
        **pictures_of(artifact),
        "images": table_of(
            {"split": split, "images": number}
            for split, number in statistics["images"].items()
        ),
        "num_classes": statistics["num_classes"],
        "imbalance": statistics["imbalance"],
        "median_width": statistics["width"]["median"],
        "median_height": statistics["height"]["median"],
        "mean": str(statistics["mean"]),
        "std": str(statistics["std"]),
    }


@dg.asset(
    deps=["validated_annotations", "class_mapping"],
    config_schema=Settings(Filling),
    code_version=code_version("labels.filling"),
    kinds={"parquet"},
    owners=OWNERS,
)
@within(OP_HOURS)
def rendered_crops(
    context: dg.AssetExecutionContext, artifacts: Artifacts
) -> dg.MaterializeResult:
    """Drawn crops for labels with few train crops; none unless `fill_to` is set.

    Training adds them to the train split; no other split ever contains one.
    """
    import pandas as pd

    from jersey_assets.labels.filling import draw_for_train, write_drawn

    filling = Filling.model_validate(context.op_execution_context.op_config)
    io = AssetIO(context, artifacts)
    table = io.read("validated_annotations").file("annotations.parquet")
    mapping = read_classes(io.read("class_mapping").folder)

    def write(folder: Path) -> None:
        rows = pd.read_parquet(table, columns=["split", "label"])
        drawn = draw_for_train(filling, rows, mapping, context.log.info)
        write_drawn(drawn, folder)

    return io.publish(write, rendered_page, filling.model_dump())


def rendered_page(artifact: Artifact) -> Page:
    import pandas as pd

    labels = pd.read_parquet(artifact.file("crops.parquet"), columns=["label"])
    counts = labels["label"].value_counts()
    return {
        "headline": count(len(labels), "crop drawn", "crops drawn"),
        **pictures_of(artifact),
        "crops": len(labels),
        "labels": table_of(
            {"label": json.dumps(label), "crops": int(number)}
            for label, number in counts.items()
        ),
    }
