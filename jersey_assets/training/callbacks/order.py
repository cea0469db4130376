"""Checks the order of callbacks, which Lightning calls one after another."""

from __future__ import annotations

from typing import ClassVar

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback


class Ordered(Callback):
    """A callback that depends on what other callbacks did before it in the same hook.

    It refuses to start in a trainer that would call one of them after it.
    """

    after: ClassVar[tuple[type[Callback], ...]] = ()
    """Callbacks that come before this one."""

    def setup(
        self, trainer: pl.Trainer, module: pl.LightningModule, stage: str
    ) -> None:
        """Checks the trainer's list.

        Raises:
            ValueError: a callback that must come before this one is missing or later.
        """
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        before = callbacks[: callbacks.index(self)]
        for kind in self.after:
            if not any(isinstance(callback, kind) for callback in before):
                raise ValueError(
                    f"{type(self).__name__} must come after {kind.__name__} in the "
                    "trainer's callbacks"
                )
