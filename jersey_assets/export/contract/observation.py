"""What the sandbox has observed of a model, as input for the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from jersey_assets.export.contract.questions import Question, questions
from jersey_assets.export.tolerance import Numbers


@dataclass(frozen=True)
class Observation:
    """What was observed of a model.

    Attributes:
        faults: what is wrong with the file and its graph, in words.
        score_faults: why the output does not come from a linear layer.
        errors: what running it raised, by question.
        inputs: name, type and shape of each input.
        outputs: likewise; like inputs, empty if it could not be loaded.
        properties: the model's metadata.
        sha256: digest of the file, hex, that `questions` makes its table from; empty
            if no question could be asked.
        answers: the pictures as `rows`, float32 [64, 3, H, W], and by question the
            answers for its rows, in their order.
        operators: how many the graph has.
        weights: the float tensors that they read, by name, if they are small enough.
        opset: version of the standard operators.
        int8_share: share of the weights' values, 0..1, that have 8 bits.
    """

    faults: tuple[str, ...]
    score_faults: tuple[str, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[tuple[str, str, tuple[Any, ...]], ...] = ()
    outputs: tuple[tuple[str, str, tuple[Any, ...]], ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    answers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    operators: int = 0
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    opset: int = 0
    int8_share: float = 0.0

    def asked(self) -> dict[str, Question]:
        """The questions, by name; empty if none could be asked."""
        return questions(bytes.fromhex(self.sha256)) if self.sha256 else {}

    def scores(self) -> tuple[Question, Numbers] | None:
        """The answer for all rows in one batch, or the first that was given."""
        for name, question in self.asked().items():
            if name in self.answers and not question.nan:
                return question, self.answers[name]
        return None

    def unanswered(self) -> list[str]:
        """Says why there is nothing to judge; empty if there is."""
        if self.scores() is not None:
            return []
        if self.errors:
            question, error = next(iter(self.errors.items()))
            return [f"running {question} failed: {error}"]
        reasons = self.faults or ("it has not one image input and one output",)
        return [f"unknown, since the model could not be run: {reasons[0]}"]
