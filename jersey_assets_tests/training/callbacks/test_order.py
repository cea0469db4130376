"""The order of callbacks: Lightning's own trainer refuses any other."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback

from jersey_assets.training.callbacks.confusions import Confusions
from jersey_assets.training.callbacks.history import History
from jersey_assets.training.callbacks.saving import Saving
from jersey_assets_tests.training.killed import tiny_fit

PAIRS = [
    *[(kind, Saving) for kind in Saving.after],
    *[(kind, Confusions) for kind in Confusions.after],
]


def swap_when_given_to_lightning(
    monkeypatch: pytest.MonkeyPatch, first: type[Callback], then: type[Callback]
) -> None:
    class Swapped(pl.Trainer):
        def __init__(self, callbacks: list[Callback], **settings: object) -> None:
            a, b = (
                next(
                    i for i, callback in enumerate(callbacks) if type(callback) is kind
                )
                for kind in (first, then)
            )
            callbacks[a], callbacks[b] = callbacks[b], callbacks[a]
            super().__init__(callbacks=callbacks, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(pl, "Trainer", Swapped)


@pytest.mark.parametrize(("first", "then"), PAIRS)
def test_a_callback_before_one_that_it_relies_on_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    first: type[Callback],
    then: type[Callback],
) -> None:
    swap_when_given_to_lightning(monkeypatch, first, then)
    with pytest.raises(ValueError, match=r"\w+ must come after \w+ in the trainer's"):
        tiny_fit(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_callback_without_one_that_it_relies_on_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Without(pl.Trainer):
        def __init__(self, callbacks: list[Callback], **settings: object) -> None:
            fewer = [one for one in callbacks if not isinstance(one, History)]
            super().__init__(callbacks=fewer, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(pl, "Trainer", Without)
    with pytest.raises(ValueError, match="Confusions must come after History"):
        tiny_fit(tmp_path)
