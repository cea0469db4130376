"""Writes the bundle to deploy: model, labels, reports and the model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jersey_assets.release.significance import wilson
from jersey_assets.storage.manifest import Artifact
from jersey_assets.text import count, readable, shorten

_FILES = {
    "model.onnx": ("onnx_model", "model.onnx"),
    "labels_mapping.json": ("onnx_model", "labels_mapping.json"),
    "evaluation_report.json": ("evaluation", "report.json"),
    "parity_report.json": ("parity", "report.json"),
    "training.json": ("checkpoint", "training.json"),
}


@dataclass(frozen=True)
class Candidate:
    """The artifacts that a release is made of."""

    annotations: Artifact
    class_mapping: Artifact
    checkpoint: Artifact
    evaluation: Artifact
    onnx_model: Artifact
    parity: Artifact

    def parts(self) -> tuple[Artifact, ...]:
        """All of them, in the order in which they were made."""
        return (
            self.annotations,
            self.class_mapping,
            self.checkpoint,
            self.evaluation,
            self.onnx_model,
            self.parity,
        )


def write_bundle(candidate: Candidate, folder: Path) -> None:
    """Copies the deployed files into a folder and writes `MODEL_CARD.md`."""
    for name, (part, source) in _FILES.items():
        shutil.copyfile(getattr(candidate, part).file(source), folder / name)
    (folder / "MODEL_CARD.md").write_text(model_card(candidate), "utf-8")


def model_card(candidate: Candidate) -> str:
    """Describes a candidate for those who will deploy it, as Markdown."""
    report = candidate.evaluation.json("report.json")
    training = candidate.checkpoint.json("training.json")
    size = training["recipe"]["image_size"]
    sections = [
        "# Jersey-number model",
        f"Reads one of {report['num_classes']} labels from a crop of a jersey number. "
        "`model.onnx` takes `input`, float32 [batch, 3, "
        f"{size}, {size}], normalized RGB, and gives `logits`, float32 [batch, "
        f"{report['num_classes']}]. Labels and normalization are in the file's "
        "metadata.",
        "## Accuracy",
        *_accuracy(report, candidate.parity.json("report.json")),
        "## Data",
        *_data(candidate.annotations),
        "## Training",
        f"- {shown(training['recipe']['model'])} at {size} px, "
        f"{training['parameters']:,} parameters, {count(training['epochs'], 'epoch')}, "
        f"weights averaged over {count(training['ema_step'], 'step')}",
        "- full recipe in `training.json`",
        "## Known limits",
        f"- weakest labels on {report['split']}: "
        f"{_weakest_classes(report['per_class'])}",
        "- it answers with one of its labels for every picture, even for one without "
        "a jersey" + _no_number_note(report["per_class"]),
        "- its accuracy holds for crops like those it was evaluated on",
        "## Provenance",
        "| artifact | version | digest |",
        "|---|---|---|",
        *(
            f"| {part.asset} | {part.version} | `{part.digest[:16]}` |"
            for part in candidate.parts()
        ),
        "",
    ]
    return "\n".join(
        f"\n{line}\n" if line.startswith("## ") else line for line in sections
    )


def _accuracy(report: Mapping[str, Any], parity: Mapping[str, Any]) -> list[str]:
    """The accuracy on the evaluation split, and that of the most common label."""
    per_class = report["per_class"]
    right = round(report["top1"] * report["images"])
    low, high = wilson(right, report["images"])
    commonest = max(entry["images"] for entry in per_class.values())
    return [
        f"- split: {report['split']}, {count(report['images'], 'crop')}",
        f"- top-1 {report['top1']:.2%} (95 % interval {low:.1%} to {high:.1%}), top-5 "
        f"{report['top5']:.2%}",
        "- always answering the most common label would read "
        f"{commonest / report['images']:.2%}",
        f"- onnxruntime top-1 {parity['onnx_top1']:.2%}, largest difference of a logit "
        f"to PyTorch {parity['max_abs_error']:.3g}",
        "",
        "| label | crops | recall |",
        "|---|---|---|",
        *_class_rows(per_class),
    ]


def _data(annotations: Artifact) -> list[str]:
    summary = annotations.json("summary.json")
    return [
        f"- dataset {shown(annotations.manifest['dataset'])}",
        f"- annotations read {summary['rows']}, kept {summary['kept']}, set aside "
        f"{summary['rejected']}, merged duplicates {summary['duplicates']}",
        f"- fingerprint {shown(summary['fingerprint'])}",
    ]


def _class_rows(per_class: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = []
    for label, entry in per_class.items():
        recall = "–" if entry["top1"] is None else f"{entry['top1']:.1%}"
        rows.append(f"| {shown(label)} | {entry['images']} | {recall} |")
    return rows


def _weakest_classes(per_class: Mapping[str, Mapping[str, Any]]) -> str:
    scored = {k: v["top1"] for k, v in per_class.items() if v["top1"] is not None}
    weakest = sorted(scored, key=lambda label: (scored[label], label))[:3]
    return ", ".join(f"{shown(label)} ({scored[label]:.0%})" for label in weakest)


def _no_number_note(per_class: Mapping[str, Any]) -> str:
    return "" if "" in per_class else '; it has no label "" for "no readable number"'


def shown(text: str) -> str:
    """Returns text from a file as a Markdown code span, safely escaped."""
    quoted = readable(json.dumps(shorten(text), ensure_ascii=False))
    # No backtick may end the code span; JSON has an escape for it.
    quoted = quoted.replace("`", "\\u0060").replace("|", "\\|")
    return f"`{quoted}`"
