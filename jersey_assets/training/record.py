"""The record of a training: epochs, times, memory and threads so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from jersey_assets.training.epochs import Epoch


@dataclass(frozen=True)
class ThreadChoice:
    """The number of CPU threads from this optimizer step on."""

    step: int
    threads: int


@dataclass
class Record:
    """Grows while a training runs and is saved with its weights.

    Each field is written by one callback, named here; the others only read it.

    Attributes:
        epochs: the validated epochs, oldest first (`History`).
        seconds: seconds of training, including before interruptions (`History`).
        device: what it runs on (`History`).
        precision: arithmetic of its steps, as Lightning names it (`History`).
        threads: the numbers of threads that were chosen, oldest first (`Threads`).
        train_images: crops that training steps have shown (`Progress`).
        train_seconds: seconds of these steps alone, without validation (`Progress`).
        peak_memory_mb: peak memory of the process (`Progress`).
        peak_gpu_memory_mb: peak memory of a GPU, 0 without one (`Progress`).
        confusions: counts of valid by epoch, a row for each true class (`Confusions`).
    """

    epochs: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    device: str = ""
    precision: str = ""
    threads: list[ThreadChoice] = field(default_factory=list)
    train_images: int = 0
    train_seconds: float = 0.0
    peak_memory_mb: int = 0
    peak_gpu_memory_mb: int = 0
    confusions: dict[int, list[list[int]]] = field(default_factory=dict)
