"""Assets annotation_files, validated_annotations, rejected_annotations and checks."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import dagster as dg

from jersey_assets.annotations.reasons import REASONS, severity
from jersey_assets.graph.asset_io import AssetIO, observe_input
from jersey_assets.graph.parts import (
    MAX_ROWS,
    Page,
    answers,
    check_specs,
    pictures_of,
    table_of,
)
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.graph.tags import OWNERS
from jersey_assets.runs.timeouts import OP_HOURS, within
from jersey_assets.storage.code_version import code_version
from jersey_assets.storage.manifest import Artifact
from jersey_assets.text import count


@dg.observable_source_asset
def annotation_files(dataset: Dataset, artifacts: Artifacts) -> dg.ObserveResult:
    """The JSONL files below the dataset root.

    The graph never writes them. Observing them takes one fingerprint over their names
    and contents; when it changes, the sensor requests a retraining.
    """
    from jersey_assets.annotations.disk.fingerprint import fingerprint

    opened = dataset.open(artifacts)
    found = fingerprint(opened.path)
    return dg.ObserveResult(
        data_version=dg.DataVersion(found.digest),
        metadata={"root": dg.MetadataValue.path(opened.root), **asdict(found)},
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "validated_annotations",
            deps=[annotation_files],
            description="The table of valid annotations, one row each: label, split, "
            "image, its size and hashes. All later assets read crops only by this "
            "table. Rows with faults are in `rejected_annotations`; the checks say "
            "whether there are too many.",
            code_version=code_version("annotations.validate"),
            kinds={"pandera", "parquet"},
            owners=OWNERS,
        ),
        dg.AssetSpec(
            "rejected_annotations",
            deps=[annotation_files],
            description="Every annotation that was set aside, with file, line, field, "
            "value, reason and what to do about it. Nothing is silently dropped or "
            "repaired: rows read = kept + set aside + merged duplicates.",
            code_version=code_version("annotations.validate"),
            kinds={"parquet"},
            owners=OWNERS,
        ),
    ]
)
@within(OP_HOURS)
def annotations(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> Iterator[dg.MaterializeResult]:
    """Reads and judges every annotation and every crop once."""
    from jersey_assets.annotations.images import contact_sheet
    from jersey_assets.annotations.validate import validate
    from jersey_assets.storage.owner import claim

    io = AssetIO(context, artifacts)
    opened, rules = dataset.open(artifacts), dataset.rules()
    cache = io.store.cache_file("crops.parquet")
    found = validate(opened.path, rules, context.log.info, cache)
    observe_input(context, annotation_files.key, found.summary["fingerprint"])
    if found.summary["kept"]:  # a folder named by mistake has no rows to keep
        claim(io.store, opened)
    for asset, write, page in (
        ("validated_annotations", contact_sheet.write_validated, validated_page),
        ("rejected_annotations", contact_sheet.write_rejected, rejected_page),
    ):
        yield io.publish(
            partial(write, found, opened.path, rules),
            page,
            settings={"content": found.digest},
            asset=asset,
            dataset=opened.name,
            dataset_fingerprint=found.summary["fingerprint"],
            dataset_rows=str(found.summary["rows"]),
        )


def validated_page(artifact: Artifact) -> Page:
    import pandas as pd

    from jersey_assets.annotations.schema import COLUMNS

    summary = artifact.json("summary.json")
    table = pd.read_parquet(artifact.file("annotations.parquet"))
    return {
        "headline": f"{count(summary['kept'], 'row kept', 'rows kept')}, "
        f"{summary['rejected']:,} set aside",
        "outcome": summary["outcome"],
        "rows_read": summary["rows"],
        "rows_kept": summary["kept"],
        "rows_set_aside": summary["rejected"],
        "duplicates_merged": summary["duplicates"],
        "splits": table_of(
            {"split": split, **counts} for split, counts in summary["splits"].items()
        ),
        **pictures_of(artifact),
        "reasons": table_of(
            {
                "reason": reason,
                "rows": number,
                "rows are": "kept" if severity(reason) == "warning" else "set aside",
                "meaning": REASONS[reason],
            }
            for reason, number in summary["reasons"].items()
        ),
        "warnings": _findings(pd.read_parquet(artifact.file("warnings.parquet"))),
        "files": table_of(
            {"file": file, **counts} for file, counts in summary["by_file"].items()
        ),
        "dagster/row_count": len(table),
        "dagster/column_schema": _columns(table, COLUMNS),
    }


def rejected_page(artifact: Artifact) -> Page:
    import pandas as pd

    from jersey_assets.annotations.schema import FINDING_COLUMNS

    table = pd.read_parquet(artifact.file("rejected.parquet"))
    return {
        "headline": count(len(table), "finding"),
        **pictures_of(artifact),
        "findings_set_aside": len(table),
        "findings": _findings(table),
        "files": table_of(
            {"file": file, "rows": int(number)}
            for file, number in table["file"].value_counts().items()
        ),
        "dagster/row_count": len(table),
        "dagster/column_schema": _columns(table, FINDING_COLUMNS),
    }


def _findings(table: Any) -> dg.TableMetadataValue:
    """The first findings; few columns, since the UI's page is narrow."""
    from jersey_assets.annotations.result import place

    return table_of(
        {
            "where": place(row.file, row.line),
            "reason": row.reason,
            "what is wrong": row.message,
        }
        for row in table.head(MAX_ROWS).itertuples()
    )


def _columns(table: Any, descriptions: Mapping[str, str]) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(str(name), str(kind), descriptions[str(name)])
            for name, kind in table.dtypes.items()
        ]
    )


@dg.multi_asset_check(
    specs=check_specs(
        "validated_annotations",
        {
            "rejected_rows_within_budget": "The share of rows set aside is within "
            "`rejected_budget` (or 5 rows), and every file could be read.",
            "no_conflicting_labels": "No more images than the budget allows are listed "
            "with two labels.",
            "labels_known_in_train": "No more valid and test rows than the budget "
            "allows have a label that train does not have.",
            "no_split_leakage": "No more crops than the budget allows are in two "
            "splits, pixel for pixel; near copies are counted.",
            "every_split_has_rows": "train and valid have rows; test may be absent.",
        },
        {
            "enough_images_per_class": "Every label has enough crops to learn from.",
            "class_imbalance": "The most frequent label is not many times the rarest.",
        },
    )
)
@within(OP_HOURS)
def annotation_checks(
    dataset: Dataset, artifacts: Artifacts
) -> Iterator[dg.AssetCheckResult]:
    from jersey_assets.annotations.checks import verdicts
    from jersey_assets.annotations.result import read_validation

    store = artifacts.store()
    kept = store.require("validated_annotations")
    rejected = store.require("rejected_annotations")
    validation = read_validation(kept.folder, rejected.folder)
    yield from answers(store, kept, verdicts(validation, dataset.rules()))
