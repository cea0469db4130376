"""Trains on several devices of this machine, with one process per device.

CUDA requires fresh processes (`spawn`) instead of forked ones; they do not run the main
script again, since that may be a Dagster run. Each sends its messages through a pipe;
their results are in the resume folder.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.fabric.utilities.rank_zero import rank_zero_only

from jersey_assets.machine import end_with_parent
from jersey_assets.training.errors import Interrupted, TrainingError


def train_together(
    devices: int,
    train: Callable[[Callable[[Any], None]], None],
    report: Callable[[Any], None],
) -> None:
    """Runs `train` in one process for each device, until all have ended.

    Args:
        devices: number of processes.
        train: what each of them calls; can be pickled. It gets a function that
            passes its argument to `report`; only the first process's calls arrive.
        report: called in this process.

    Raises:
        Interrupted: SIGTERM or SIGINT came; the processes have saved the training.
        TrainingError: the training failed for a reason that would repeat.
        RuntimeError: a process failed or was killed; the others were ended.
    """
    if torch.cuda.is_available() and torch.cuda.device_count() < devices:
        raise TrainingError(
            f"the recipe requests {devices} devices, but this machine has "
            f"{torch.cuda.device_count()} GPUs; set devices to that number or less"
        )
    port = find_free_network_port()
    processes: list[SpawnProcess] = []
    ranks: dict[Connection, int] = {}
    try:
        for rank in range(devices):
            process, reader = _start(train, rank, devices, port)
            processes.append(process)
            ranks[reader] = rank
        with _forwarding_signals(processes) as forwarded:
            while ranks:
                ready = wait(list(ranks))
                for reader in [reader for reader in ranks if reader in ready]:
                    _receive(reader, ranks, processes, report, forwarded)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _start(
    train: Callable[[Callable[[Any], None]], None], rank: int, devices: int, port: int
) -> tuple[SpawnProcess, Connection]:
    """Starts a process, and returns the receiving end of its pipe."""
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(
        target=_train_as, args=(train, rank, devices, port, writer)
    )
    process.start()
    writer.close()
    return process, reader


def _receive(
    reader: Connection,
    ranks: dict[Connection, int],
    processes: list[SpawnProcess],
    report: Callable[[Any], None],
    forwarded: list[int],
) -> None:
    """Handles what one process has sent, or its end."""
    try:
        message = reader.recv()
    except EOFError:
        rank = ranks.pop(reader)
        process = processes[rank]
        process.join()
        if process.exitcode == -signal.SIGTERM and forwarded:
            raise Interrupted("training was interrupted before it had begun") from None
        if process.exitcode:
            raise RuntimeError(
                f"training process {rank} of {len(processes)} ended with exit code "
                f"{process.exitcode} (-9: killed, possibly for lack of memory); the "
                "next run resumes from the last save"
            ) from None
        return
    if isinstance(message, Exception):
        raise message
    if isinstance(message, logging.LogRecord):
        logging.getLogger(message.name).handle(message)
    else:
        report(message)


@contextmanager
def _forwarding_signals(processes: list[SpawnProcess]) -> Iterator[list[int]]:
    """Passes SIGTERM and SIGINT on as SIGTERM; yields the list of those that came."""
    forwarded: list[int] = []

    def forward(number: int, _: object) -> None:
        forwarded.append(number)
        for process in processes:
            process.terminate()

    if threading.current_thread() is not threading.main_thread():
        yield forwarded
        return
    before = {n: signal.signal(n, forward) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield forwarded
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Sent(QueueHandler):
    """Sends log records to the process that shows them."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.send(record)  # type: ignore[attr-defined]


def _train_as(
    train: Callable[[Callable[[Any], None]], None],
    rank: int,
    devices: int,
    port: int,
    writer: Any,
) -> None:
    """Runs the training in a process, as Lightning's process of that rank."""
    # The parent holds the lock on the artifact root, so this must end with it.
    end_with_parent(signal.SIGKILL)
    torch.set_num_threads(max(1, torch.get_num_threads() // devices))
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(devices),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    # Set when Lightning is imported, which was before the lines above.
    rank_zero_only.rank = rank  # type: ignore[attr-defined]
    if rank == 0:
        logger = logging.getLogger("jersey_assets")
        logger.setLevel(logging.INFO)
        logger.addHandler(_Sent(writer))
    try:
        train(writer.send if rank == 0 else lambda message: None)
    except TrainingError as error:
        writer.send(error)
    except Exception:
        # Not a TrainingError: after a machine's fault, a retry may resume.
        writer.send(
            RuntimeError(f"a training process failed:\n{traceback.format_exc()}")
        )
