"""The gate: decides whether a candidate may be released, by two statistical tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jersey_assets.export.runtimes import in_batches
from jersey_assets.labels.file import read_classes
from jersey_assets.reader.predictor import Predictor
from jersey_assets.release.bundle import Candidate, shown
from jersey_assets.release.releases import withdrawals
from jersey_assets.release.significance import mcnemar, wilson
from jersey_assets.storage.manifest import Artifact
from jersey_assets.storage.provenance import walk_provenance
from jersey_assets.storage.store import Store
from jersey_assets.text import count, readable
from jersey_assets.training.data.crops import evaluation_split, load_crops
from jersey_assets.verdict import Verdict

# Chance of publishing a model that reads nothing, and of refusing one that is as good
# as the current one.
SIGNIFICANCE = 0.05
# With fewer, hardly any two models could be distinguished.
MIN_CROPS = 20

_BATCH = 32

BETTER, NOT_WORSE = "better_than_one_answer", "not_worse_than_current"


class ReleaseError(RuntimeError):
    """The candidate's parts do not belong together, or one of them is invalid."""


def judge(
    candidate: Candidate, release: Artifact | None, store: Store, root: Path
) -> tuple[Verdict, Verdict]:
    """Decides whether the candidate may be published: if both verdicts pass.

    All is judged on the evaluation crops of the candidate's own dataset, as they were
    validated. A release of another dataset is tested on them as well: a candidate that
    reads its own crops worse than that release is no progress, while being better
    proves nothing. What a model must prove is the first verdict.

    Args:
        candidate: the artifacts to release.
        release: the current release, if there is one.
        store: where the candidate's provenance is looked up.
        root: the dataset root, for the evaluation crops.

    Returns:
        `better_than_one_answer`: at least `MIN_CROPS` crops, and the exact one-sided
        McNemar test of the model against always giving the label that is most common
        among them. `not_worse_than_current`: the same test of the current release
        against the model. Weights that an operator rolled back from fail it untested.

    Raises:
        ReleaseError: the parts do not belong together, or parity is broken.
        AnnotationError: a crop has changed since it was validated.
    """
    check_provenance(candidate, store)
    rows = pd.read_parquet(candidate.annotations.file("annotations.parquet"))
    rows = rows[rows["split"] == evaluation_split(rows)]
    withdrawn = withdrawals(store).get(candidate.checkpoint.digest)
    if len(rows) < MIN_CROPS:
        too_few = _too_few(rows)
        return Verdict(BETTER, False, too_few), Verdict(NOT_WORSE, False, too_few)
    labels = rows["label"].to_numpy()
    new = _answers(candidate.onnx_model, candidate, rows, root) == labels
    better = _judge_alone(new, labels)
    if withdrawn is not None:
        return better, _withdrawn(withdrawn)
    if release is None:
        message = "there is no intact release to compare with"
        return better, Verdict(NOT_WORSE, True, message)
    current = _answers(release, candidate, rows, root) == labels
    return better, _compare(new, current, release, candidate)


def decision(
    verdicts: tuple[Verdict, Verdict], before: Artifact | None, after: Artifact | None
) -> str:
    """Says what was decided about a candidate, then, after a colon, why.

    Args:
        verdicts: on the candidate.
        before: the current release when it was judged, if there was one.
        after: the current release now.
    """
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        stays = f", {before.version} is kept" if before else ""
        what = f"not published{stays}"
    elif after == before:
        assert after is not None
        what = f"unchanged, {after.version} was published by an earlier run"
    else:
        assert after is not None
        what = f"published, {after.version}"
    why = dict.fromkeys(verdict.message for verdict in failed or verdicts)
    return f"{what}: {'; '.join(why)}"


def _too_few(rows: pd.DataFrame) -> str:
    split = evaluation_split(rows)
    return (
        f"{count(len(rows), 'crop')} of {split} cannot prove what the model reads: "
        f"annotate at least {MIN_CROPS} of {split} (a hundred or more to distinguish "
        "good models) and run again; until then you can try the model in onnx_model"
    )


def _judge_alone(right: NDArray[np.bool_], labels: NDArray[np.object_]) -> Verdict:
    """Compares with the best that a model can do without looking at the crops."""
    answer, _ = Counter(labels).most_common(1)[0]
    lost, won = _differing(right, labels == answer)
    chance = mcnemar(won, lost)
    low, high = wilson(int(right.sum()), len(right))
    passed = chance < SIGNIFICANCE
    advice = "" if passed else "; train longer, or look at the labels and crops"
    return Verdict(
        BETTER,
        passed,
        f"of {count(len(labels), 'crop')} the model reads {right.sum()} (95 % interval "
        f"{low:.1%} to {high:.1%}), always answering {shown(answer)} reads "
        f"{(labels == answer).sum()}; only the model is right on {won}, only that "
        f"answer on {lost} (one-sided McNemar p = {chance:.2g}, required: less than "
        f"{SIGNIFICANCE}){advice}",
        facts={
            "crops": len(labels),
            "right": int(right.sum()),
            "accuracy_from": low,
            "accuracy_to": high,
            "one_answer": readable(answer),
            "one_answer_right": int((labels == answer).sum()),
            "p_value": chance,
            "recall": {
                readable(label): round(float(right[labels == label].mean()), 4)
                for label in sorted(set(labels))
            },
        },
    )


def _compare(
    new: NDArray[np.bool_],
    current: NDArray[np.bool_],
    release: Artifact,
    candidate: Candidate,
) -> Verdict:
    lost, won = _differing(new, current)
    chance = mcnemar(lost, won)
    theirs, ours = (
        release.manifest["dataset"],
        candidate.annotations.manifest["dataset"],
    )
    foreign = f", trained on {shown(theirs)}," if theirs != ours else ""
    return Verdict(
        NOT_WORSE,
        chance >= SIGNIFICANCE,
        f"of {count(len(new), 'crop')} the new model reads {new.sum()}, the current "
        f"release{foreign} {current.sum()}; only the current one is right on {lost}, "
        f"only the new one on {won} (one-sided McNemar p = {chance:.3f}, refused below "
        f"{SIGNIFICANCE})",
        facts={
            "crops": len(new),
            "new_right": int(new.sum()),
            "current_right": int(current.sum()),
            "only_current_right": lost,
            "only_new_right": won,
            "p_value": chance,
            "current_version": release.version,
        },
    )


def _withdrawn(entry: Mapping[str, str]) -> Verdict:
    version = entry["version"]
    return Verdict(
        NOT_WORSE,
        False,
        f"these weights were released as {version} and rolled back on "
        f"{entry['withdrawn']} to {entry['back_to']}; train others, or restore them "
        f"with `jersey-assets releases rollback {version}`",
        facts=dict(entry),
    )


def check_provenance(candidate: Candidate, store: Store) -> None:
    """Checks that every part was made from the other parts and from nothing else.

    Raises:
        ReleaseError: it was not, or parity is broken.
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
            f"{candidate.parity.location} did not compare the files to release; "
            "materialize parity_report again"
        )
    if report["passed"] is not True:
        raise ReleaseError(
            f"{candidate.parity.location} says that onnxruntime and PyTorch differ; "
            "see the checks of parity_report"
        )


def _differing(right: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[int, int]:
    """Counts crops that only the other one reads, and that only this one reads."""
    return int((other & ~right).sum()), int((right & ~other).sum())


def _answers(
    model: Artifact, candidate: Candidate, rows: pd.DataFrame, root: Path
) -> NDArray[np.object_]:
    """The label that a model reads on each crop."""
    predictor = Predictor(model.file("model.onnx"))
    mapping = read_classes(candidate.class_mapping.folder)
    crops = load_crops(root, rows, mapping, predictor.metadata.image_size)
    images = crops.images.permute(0, 2, 3, 1).numpy()
    best = in_batches(predictor.logits, images, _BATCH).argmax(axis=1)
    labels = np.array(predictor.metadata.labels, dtype=object)
    read: NDArray[np.object_] = labels[best]
    return read
