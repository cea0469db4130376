"""The gate: whether a candidate may replace the model that people use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from jersey_assets.export.predict import Predictor, Unread
from jersey_assets.release.bundle import Candidate
from jersey_assets.release.history import withdrawals
from jersey_assets.storage.store import Artifact, Store, walk_provenance
from jersey_assets.training.crops import evaluation_split
from jersey_assets.verdict import Verdict

# Chance of refusing a model that is as good as the current one.
SIGNIFICANCE = 0.05
# With fewer, hardly any model could be told to be worse.
MIN_CROPS = 20


class ReleaseError(RuntimeError):
    """A candidate whose parts do not belong together, or do not hold."""


def judge(
    candidate: Candidate, release: Artifact | None, store: Store, root: Path
) -> Verdict:
    """Decides whether the candidate is published.

    Args:
        candidate: the artifacts to release.
        release: the current release, if there is one.
        store: where the candidate's provenance is looked up.
        root: the dataset root, for the evaluation crops.

    Returns:
        `not_worse_than_current`: the exact one-sided McNemar test of both models on
        the same crops (McNemar, Psychometrika 12, 1947). Weights that an operator
        went back from fail it without a test.

    Raises:
        ReleaseError: the parts are not of one run of the chain, or parity is broken.
    """
    check_provenance(candidate, store)
    entry = withdrawals(store).get(candidate.checkpoint.digest)
    if entry is not None:
        return _withdrawn(entry)
    if release is None:
        return Verdict(
            "not_worse_than_current",
            True,
            "published: there is no intact release to compare with",
        )
    table = pd.read_parquet(candidate.annotations.file("annotations.parquet"))
    rows = table[table["split"] == evaluation_split(table)]
    if len(rows) < MIN_CROPS:
        return Verdict(
            "not_worse_than_current",
            False,
            f"not published, {release.version} stays: {len(rows)} crops of "
            f"{evaluation_split(table)} are too few to tell a worse model by; "
            f"annotate at least {MIN_CROPS}",
        )
    new = _right_answers(candidate.onnx_model, rows, root)
    old = _right_answers(release, rows, root)
    lost = sum(b and not a for a, b in zip(new, old, strict=True))
    won = sum(a and not b for a, b in zip(new, old, strict=True))
    chance = mcnemar(lost, won)
    passed = chance >= SIGNIFICANCE
    return Verdict(
        "not_worse_than_current",
        passed,
        f"{'published' if passed else f'not published, {release.version} stays'}: of "
        f"{len(rows)} crops the new "
        f"model reads {sum(new)}, the current release {sum(old)}; {lost} are right "
        f"only in the current one, {won} only in the new one (one-sided McNemar "
        f"p = {chance:.3f}, refused below {SIGNIFICANCE})",
        facts={
            "crops": len(rows),
            "new_right": sum(new),
            "current_right": sum(old),
            "only_current_right": lost,
            "only_new_right": won,
            "p_value": chance,
            "current_version": release.version,
        },
    )


def _withdrawn(entry: Mapping[str, str]) -> Verdict:
    version = entry["version"]
    return Verdict(
        "not_worse_than_current",
        False,
        f"not published: these weights were released as {version}, and on "
        f"{entry['withdrawn']} somebody went back from them to {entry['back_to']}; "
        "train others, or take them back with "
        f"`jersey-assets releases rollback {version}`",
        facts=dict(entry),
    )


def check_provenance(candidate: Candidate, store: Store) -> None:
    """Checks that every part was made from the other parts and from nothing else.

    Raises:
        ReleaseError: it was not, or the parity report does not hold.
    """
    expected = {part.asset: part for part in candidate.parts()}
    for part in candidate.parts():
        for node in walk_provenance(store, part):
            known = expected.setdefault(node.asset, node)
            if node.digest != known.digest:
                raise ReleaseError(
                    f"{part.location} was made from {node.location}, but the release "
                    f"would hold {known.location}; materialize the whole chain again"
                )
    report = candidate.parity.json("report.json")
    model = candidate.onnx_model.manifest["files"]["model.onnx"]["sha256"]
    weights = candidate.checkpoint.manifest["files"]["model.ckpt"]["sha256"]
    if (report["model_sha256"], report["checkpoint_sha256"]) != (model, weights):
        raise ReleaseError(
            f"{candidate.parity.location} compares other files than the ones to "
            "release; materialize parity_report again"
        )
    if report["passed"] is not True:
        raise ReleaseError(
            f"{candidate.parity.location} says that onnxruntime and PyTorch differ; "
            "see the checks of parity_report"
        )


def mcnemar(lost: int, won: int) -> float:
    """Chance of losing at least this many of the crops that the models differ on,
    were both equally good.

    Args:
        lost: crops that only the current model reads.
        won: crops that only the new model reads.
    """
    differing = lost + won
    ways = sum(math.comb(differing, k) for k in range(lost, differing + 1))
    return float(ways / 2**differing)


def _right_answers(model: Artifact, rows: pd.DataFrame, root: Path) -> Sequence[bool]:
    predictor = Predictor(model.file("model.onnx"))
    answers = predictor.predict([root / name for name in rows["image"]])
    right = []
    for answer, label in zip(answers, rows["label"], strict=True):
        if isinstance(answer, Unread):
            raise ReleaseError(f"{answer.image}: {answer.reason}")
        right.append(answer.label == label)
    return right
