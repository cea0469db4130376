"""What an artifact looks like in the UI: tables, numbers over runs, small pictures.

Everything is read from the artifact's files, so a stored artifact and a new one are
shown alike. Pictures are embedded small, because the event log keeps them for ever;
the large ones are files of the artifact.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dagster as dg

from jersey_assets.annotations.reasons import REASONS, severity
from jersey_assets.labels.file import read_classes
from jersey_assets.storage.manifest import Artifact
from jersey_assets.text import readable, shorten

Metadata = dict[str, Any]

MAX_ROWS = 100
_CELL_CHARACTERS = 1_000

_logger = logging.getLogger(__name__)


def describe(artifact: Artifact) -> Metadata:
    """Describes an artifact: what all have in common, then what is its own."""
    return {
        **_DESCRIPTIONS[artifact.asset](artifact),
        "path": dg.MetadataValue.path(artifact.location),
        "version": artifact.version,
        "bytes": sum(entry["size"] for entry in artifact.manifest["files"].values()),
    }


def _validated(artifact: Artifact) -> Metadata:
    import pandas as pd

    from jersey_assets.annotations.schema import COLUMNS

    summary = artifact.json("summary.json")
    table = pd.read_parquet(artifact.file("annotations.parquet"))
    warnings = pd.read_parquet(artifact.file("warnings.parquet"))
    return {
        "outcome": summary["outcome"],
        "rows_read": summary["rows"],
        "rows_kept": summary["kept"],
        "rows_set_aside": summary["rejected"],
        "duplicates_merged": summary["duplicates"],
        "splits": _table(
            {"split": split, **counts} for split, counts in summary["splits"].items()
        ),
        **_pictures(artifact),
        "reasons": _table(
            {
                "reason": reason,
                "rows": count,
                "rows are": "kept" if severity(reason) == "warning" else "set aside",
                "meaning": REASONS[reason],
            }
            for reason, count in summary["reasons"].items()
        ),
        "warnings": _findings(warnings),
        "files": _table(
            {"file": file, **counts} for file, counts in summary["by_file"].items()
        ),
        "dagster/row_count": len(table),
        "dagster/column_schema": _schema(table, COLUMNS),
    }


def _rejected(artifact: Artifact) -> Metadata:
    import pandas as pd

    from jersey_assets.annotations.schema import FINDING_COLUMNS

    table = pd.read_parquet(artifact.file("rejected.parquet"))
    return {
        **_pictures(artifact),
        "findings_set_aside": len(table),
        "findings": _findings(table),
        "files": _table(
            {"file": file, "rows": int(count)}
            for file, count in table["file"].value_counts().items()
        ),
        "dagster/row_count": len(table),
        "dagster/column_schema": _schema(table, FINDING_COLUMNS),
    }


def _class_mapping(artifact: Artifact) -> Metadata:
    mapping = read_classes(artifact.folder)
    return {
        "num_classes": len(mapping),
        "classes": _table(
            {"class index": index, "label": json.dumps(label)}
            for label, index in mapping.items()
        ),
    }


def _statistics(artifact: Artifact) -> Metadata:
    statistics = artifact.json("statistics.json")
    return {
        **_pictures(artifact),
        "images": _table(
            {"split": split, "images": count}
            for split, count in statistics["images"].items()
        ),
        "num_classes": statistics["num_classes"],
        "imbalance": statistics["imbalance"],
        "median_width": statistics["width"]["median"],
        "median_height": statistics["height"]["median"],
        "mean": str(statistics["mean"]),
        "std": str(statistics["std"]),
    }


def _rendered(artifact: Artifact) -> Metadata:
    import pandas as pd

    labels = pd.read_parquet(artifact.file("crops.parquet"), columns=["label"])
    counts = labels["label"].value_counts()
    return {
        **_pictures(artifact),
        "crops": len(labels),
        "labels": _table(
            {"label": json.dumps(label), "crops": int(count)}
            for label, count in counts.items()
        ),
    }


def _training(artifact: Artifact) -> Metadata:
    training = artifact.json("training.json")
    shown_apart = {"recipe", "kept", "layers", "draws"}
    size = artifact.manifest["files"]["model.ckpt"]["size"]
    return {
        **_pictures(artifact),
        **{k: v for k, v in training.items() if k not in shown_apart},
        "kept": _table(training["kept"]),
        "layers": _table(training["layers"]),
        "checkpoint_megabytes": round(size / 1e6, 1),
        "draws": _table(
            {"label": json.dumps(label), "crops shown in training": count}
            for label, count in training["draws"].items()
        ),
        "recipe": dg.MetadataValue.json(training["recipe"]),
    }


def _evaluation(artifact: Artifact) -> Metadata:
    report = artifact.json("report.json")
    shown = ("split", "images", "top1", "top5", "loss", "num_classes", "ema_step")
    return {
        **_pictures(artifact),
        **{key: report[key] for key in shown},
        "accuracy_by_label": _table(
            {"label": json.dumps(label), **entry}
            for label, entry in report["per_class"].items()
        ),
        "mistakes": _table(
            row | {"label": json.dumps(row["label"])} for row in report["mistakes"]
        ),
    }


def _onnx(artifact: Artifact) -> Metadata:
    entry = artifact.manifest["files"]["model.onnx"]
    return {
        "megabytes": round(entry["size"] / 1e6, 1),
        "sha256": entry["sha256"],
        "num_classes": len(read_classes(artifact.folder)),
    }


def _parity(artifact: Artifact) -> Metadata:
    report = artifact.json("report.json")
    plain = {k: v for k, v in report.items() if isinstance(v, int | float | str)}
    tables = ("per_batch_size", "per_optimization", "probes", "latency")
    return {
        **_pictures(artifact),
        **plain,
        "page": dg.MetadataValue.path(f"{artifact.location}/report.html"),
        "disagreements": len(report["disagreements"]),
        "first_disagreements": _table(report["disagreements"]),
        **{name: _table(report[name]) for name in tables},
    }


def _int8(artifact: Artifact) -> Metadata:
    report = artifact.json("report.json")
    plain = {k: v for k, v in report.items() if isinstance(v, int | float | str)}
    return {**plain, "latency": _table(report["latency"])}


def _release(artifact: Artifact) -> Metadata:
    card = artifact.file("MODEL_CARD.md").read_text("utf-8")
    report = artifact.json("evaluation_report.json")
    return {
        "top1": report["top1"],
        "split": report["split"],
        "dataset": readable(artifact.manifest["dataset"]),
        "model_card": dg.MetadataValue.md(card),
        "model": dg.MetadataValue.path(f"{artifact.location}/model.onnx"),
    }


_DESCRIPTIONS: Mapping[str, Callable[[Artifact], Metadata]] = {
    "validated_annotations": _validated,
    "rejected_annotations": _rejected,
    "class_mapping": _class_mapping,
    "dataset_statistics": _statistics,
    "rendered_crops": _rendered,
    "trained_checkpoint": _training,
    "evaluation_report": _evaluation,
    "onnx_model": _onnx,
    "parity_report": _parity,
    "int8_model": _int8,
    "released_model": _release,
}


def _pictures(artifact: Artifact) -> Metadata:
    """The artifact's pictures, each by its file's name."""
    return {
        name.removesuffix(".png"): _picture(artifact, name)
        for name in artifact.manifest["files"]
        # A series, epoch by epoch, would swell the event log: it stays in the folder.
        if name.endswith(".png") and "_epoch_" not in name
    }


def _picture(artifact: Artifact, name: str) -> dg.MetadataValue[Any]:
    """A small copy of a picture, or where the file is: a page never fails a run."""
    from jersey_assets.plots.png import shrink_png

    try:
        data = shrink_png(artifact.file(name).read_bytes())
    except Exception as error:  # Pillow raises many types; none is worth a training
        _logger.warning("%s is not shown on the page: %s", name, error)
        return dg.MetadataValue.path(f"{artifact.location}/{name}")
    text = base64.b64encode(data).decode("ascii")
    # The only form in which Dagster's UI shows a picture.
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{text})")


def _findings(table: Any) -> dg.TableMetadataValue:
    """The first findings; few columns, since a page of the UI is not wide."""
    from jersey_assets.annotations.result import place

    return _table(
        {
            "where": place(row.file, row.line),
            "reason": row.reason,
            "what is wrong": row.message,
        }
        for row in table.head(MAX_ROWS).itertuples()
    )


def _table(rows: Iterable[Mapping[Any, Any]]) -> dg.TableMetadataValue:
    """A table of the first rows; numbers stay numbers, the rest becomes text."""
    first = list(itertools.islice(rows, MAX_ROWS))
    names = list(dict.fromkeys(str(key) for row in first for key in row))
    records = [
        dg.TableRecord({name: _cell(row.get(name)) for name in names}) for row in first
    ]
    return dg.MetadataValue.table(
        records, dg.TableSchema([dg.TableColumn(name) for name in names])
    )


def _cell(value: Any) -> int | float | str:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    return readable(shorten(str(value), _CELL_CHARACTERS))


def _schema(table: Any, descriptions: Mapping[str, str]) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(str(name), str(kind), descriptions[str(name)])
            for name, kind in table.dtypes.items()
        ]
    )
