"""What is deployed, and its model card."""

from __future__ import annotations

import json
from dataclasses import replace

from jersey_assets.release.bundle import Candidate, model_card
from jersey_assets.storage.store import Store


def test_the_bundle_holds_what_is_deployed(store: Store, candidate: Candidate) -> None:
    release = store.require("released_model")
    model = candidate.onnx_model.file("model.onnx").read_bytes()
    assert release.file("model.onnx").read_bytes() == model
    card = release.file("MODEL_CARD.md").read_text()
    assert candidate.checkpoint.version in card
    assert '| `"00"` |' in card


def test_a_label_cannot_break_the_card(candidate: Candidate) -> None:
    hostile = "|<script>`\n# x\u2028\u202e"
    report = candidate.evaluation.json("report.json")
    entry = next(iter(report["per_class"].values()))
    folder = candidate.evaluation.folder
    (folder / "report.json").write_text(
        json.dumps(report | {"per_class": {hostile: entry}})
    )
    card = model_card(candidate)
    assert "\n# x" not in card
    assert "\\|<script>\\u0060\\n# x\\u2028\\u202e" in card
    assert not {"\u2028", "\u202e"} & set(card)


def test_names_and_recipes_cannot_break_the_card(candidate: Candidate) -> None:
    hostile = "a\u2028# b | [c](d) `e` \u202e\x1b[31m" + "x" * 200
    training = candidate.checkpoint.json("training.json")
    training["recipe"]["model"] = hostile
    file = candidate.checkpoint.file("training.json")
    file.write_text(json.dumps(training))
    manifest = {**candidate.annotations.manifest, "dataset": hostile}
    named = replace(candidate.annotations, manifest=manifest)
    card = model_card(replace(candidate, annotations=named))
    assert card.replace("\n", "").isprintable()
    assert card.count('`"a\\u2028# b \\| [c](d) \\u0060e\\u0060 \\u202e') == 2
    assert "x" * 80 not in card
