"""The questions put to a model: the same pictures in batches of many sizes and orders.

Child process and checks use the same table, made from the file's digest: a question in
it without an answer is a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jersey_assets.export.batch_sizes import CONTRACT

Array = NDArray[np.float32]

ROWS = max(CONTRACT)
"""Number of pictures."""
AGAIN, REVERSED, BESIDE_NAN = "the same batch again", "reversed", "beside rows of NaN"
_DRAWN_SIZES = 2
# Pictures that a small size is tried on, in as many batches as needed.
_SAMPLE = 16


@dataclass(frozen=True)
class Question:
    """Some of the pictures, in batches.

    Attributes:
        rows: which pictures, int [n].
        size: of each batch.
        nan: places among the rows that are replaced by NaN; whole rows, since max
            pooling may lose one pixel of NaN, and a stride may skip it.
    """

    rows: NDArray[np.int64]
    size: int
    nan: tuple[int, ...] = ()


def batches_of(size: int) -> str:
    """The name of the question with batches of a size."""
    return f"batches of {size}"


def questions(digest: bytes) -> dict[str, Question]:
    """Makes the table for a file, all pictures in one batch first.

    Args:
        digest: sha256 of the file: the same file gets the same questions.
    """
    draw = np.random.default_rng(int.from_bytes(digest, "big"))
    others = sorted(set(range(2, ROWS)) - set(CONTRACT))
    drawn = draw.choice(others, min(_DRAWN_SIZES, len(others)), replace=False)
    sizes = sorted({*CONTRACT, *map(int, drawn)}, reverse=True)
    table = {batches_of(size): _in_batches(size, draw) for size in sizes}
    # One of medium size: large enough for interactions, and cheap.
    company = _in_batches(sizes[len(sizes) // 3], draw)
    table[batches_of(company.size)] = company
    table[AGAIN] = company
    table[REVERSED] = Question(company.rows[::-1], company.size)
    spoiled = (1, company.size // 2)
    table[BESIDE_NAN] = Question(company.rows, company.size, spoiled)
    return table


def _in_batches(size: int, draw: np.random.Generator) -> Question:
    count = max(1, _SAMPLE // size) * size
    start = 0 if size == ROWS else int(draw.integers(ROWS))
    return Question((start + np.arange(count)) % ROWS, size)


def ask(answer: Callable[[Array], Array], pictures: Array, question: Question) -> Array:
    """Asks one question.

    Args:
        answer: the model, from float [n, 3, H, W] to its answer.
        pictures: all of them, float [ROWS, 3, H, W].
        question: which, and how.

    Raises:
        ValueError: an answer does not have one row for each picture.
    """
    asked = pictures[question.rows]
    asked[list(question.nan)] = np.nan
    parts = []
    for start in range(0, len(asked), question.size):
        part = answer(np.ascontiguousarray(asked[start : start + question.size]))
        if part.shape[:1] != (question.size,):
            raise ValueError(
                f"{question.size} crops gave an answer of shape {part.shape}"
            )
        parts.append(part)
    return np.concatenate(parts)
