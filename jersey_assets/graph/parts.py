"""Building blocks of asset pages and checks: pictures, tables, check results.

Everything on a page is read from the artifact's files. Pictures are embedded small,
because the event log keeps them forever; the large ones are files of the artifact.
"""

from __future__ import annotations

import base64
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from jersey_assets.storage.answers import write_answers
from jersey_assets.storage.manifest import Artifact
from jersey_assets.storage.store import Store
from jersey_assets.text import readable, shorten
from jersey_assets.verdict import Verdict

Page = dict[str, Any]
"""Metadata of a materialization; `headline` is its line in the terminal's summary."""

MAX_ROWS = 100
_CELL_CHARACTERS = 1_000

_logger = logging.getLogger(__name__)


def check_specs(
    asset: str, blocking: dict[str, str], warning: dict[str, str] | None = None
) -> list[dg.AssetCheckSpec]:
    """Declares an asset's checks, name to description.

    Args:
        asset: the asset's name.
        blocking: if one of them fails, assets that depend on this one do not run, and
            the run ends with exit code 1.
        warning: checks that stop nothing.
    """
    specs = [
        dg.AssetCheckSpec(name, asset=asset, blocking=True, description=text)
        for name, text in blocking.items()
    ]
    return specs + [
        dg.AssetCheckSpec(name, asset=asset, description=text)
        for name, text in (warning or {}).items()
    ]


def answer(asset: str, verdict: Verdict) -> dg.AssetCheckResult:
    """Turns a verdict into a check's result, which Dagster shows with its severity."""
    severity = dg.AssetCheckSeverity
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=verdict.name,
        passed=verdict.passed,
        severity=severity.WARN if verdict.severity == "warning" else severity.ERROR,
        description=readable(verdict.message),
        metadata=dict(verdict.facts),
    )


def answers(
    store: Store, judged: Artifact, verdicts: Iterable[Verdict]
) -> Iterator[dg.AssetCheckResult]:
    """Turns the verdicts on an artifact into results, and stores them beside it.

    Args:
        store: holds the artifact; a release reads the stored answers.
        judged: the artifact; Dagster itself would link an answer to the version that
            was materialized last, which may be another run's.
        verdicts: of all the checks of its asset.
    """
    verdicts = list(verdicts)
    write_answers(store, judged, verdicts)
    for verdict in verdicts:
        yield answer(judged.asset, verdict)


def pictures_of(artifact: Artifact) -> Page:
    """The artifact's pictures, each by its file's name."""
    return {
        name.removesuffix(".png"): _picture(artifact, name)
        for name in artifact.manifest["files"]
        # A picture per epoch would bloat the event log: these stay in the folder.
        if name.endswith(".png") and "_epoch_" not in name
    }


def _picture(artifact: Artifact, name: str) -> dg.MetadataValue[Any]:
    """A small copy of a picture, or the file's path: a page never fails a run."""
    from jersey_assets.plots.png import shrink_png

    try:
        data = shrink_png(artifact.file(name).read_bytes())
    except Exception as error:  # Pillow raises many types; none may fail a run
        _logger.warning("%s is not shown on the page: %s", name, error)
        return dg.MetadataValue.path(f"{artifact.location}/{name}")
    text = base64.b64encode(data).decode("ascii")
    # The only form in which Dagster's UI shows a picture.
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{text})")


def plain_values(report: Mapping[str, Any]) -> Page:
    """The numbers and texts of a report, which the UI plots over runs."""
    return {k: v for k, v in report.items() if isinstance(v, int | float | str)}


def table_of(rows: Iterable[Mapping[Any, Any]]) -> dg.TableMetadataValue:
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
