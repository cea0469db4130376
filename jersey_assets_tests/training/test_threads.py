"""The number of threads, chosen by how long the training's own steps take."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from jersey_assets.training.threads import Times, fastest
from jersey_assets_tests.training.killed import tiny_fit

QUIET: Times = {1: 0.2, 2: 0.13}
LOUD: Times = {1: 0.4, 2: 3.5}


@dataclass
class Machine:
    """Steps whose seconds are given: what a machine does, minute by minute."""

    step_s: Callable[[float, int], float]
    now: float = 0.0
    used: list[tuple[float, int]] = field(default_factory=list)

    def train(self, candidates: list[int], seconds: float) -> int:
        """Steps for so long; gives how many there were."""
        choice = fastest(candidates, lambda times: None)
        count = next(choice)
        steps = 0
        while self.now < seconds:
            took = self.step_s(self.now, count)
            self.used.append((self.now, count))
            self.now += took
            count = choice.send(took)
            steps += 1
        return steps


@pytest.mark.parametrize("times", [QUIET, LOUD])
def test_the_faster_number_is_used_and_comparing_costs_little(times: Times) -> None:
    machine = Machine(lambda now, count: times[count])
    steps = machine.train([1, 2], 600)
    assert steps > 0.95 * 600 / min(times.values())


def test_what_a_change_of_threads_costs_does_not_decide() -> None:
    last: list[int] = [0]

    def step_s(now: float, count: int) -> float:
        changed, last[0] = last[0] != count, count
        return QUIET[count] + (0.5 if changed else 0.0)

    machine = Machine(step_s)
    machine.train([1, 2], 600)
    later = [count for now, count in machine.used if now > 300]
    assert later.count(2) > 0.9 * len(later)


def test_when_the_machine_gets_loud_and_quiet_again_the_number_follows() -> None:
    def step_s(now: float, count: int) -> float:
        return (LOUD if 300 < now < 900 else QUIET)[count]

    machine = Machine(step_s)
    steps = machine.train([1, 2], 1200)
    quiet, loud = min(QUIET.values()), min(LOUD.values())
    assert steps > 0.95 * (600 / quiet + 600 / loud)
    later = [count for now, count in machine.used if now > 1000]
    assert later.count(2) > 0.95 * len(later)


def test_a_second_core_that_becomes_free_is_found_though_nothing_got_slower() -> None:
    def step_s(now: float, count: int) -> float:
        return 0.13 if count == 2 and now > 300 else 0.2

    machine = Machine(step_s)
    machine.train([1, 2], 900)
    later = [count for now, count in machine.used if now > 450]
    assert later.count(2) > 0.95 * len(later)


def test_of_many_numbers_the_fastest_is_used() -> None:
    times = {1: 0.4, 2: 0.21, 4: 0.12, 8: 0.1, 16: 0.16}
    machine = Machine(lambda now, count: times[count])
    machine.train(list(times), 300)
    later = [count for now, count in machine.used if now > 20]
    assert later.count(8) > 0.9 * len(later)


def test_a_training_says_what_it_found_and_how_long_it_will_take(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with caplog.at_level(logging.INFO, "jersey_assets"):
            made = tiny_fit(None, epochs=9, threads=None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    (decision, *_) = made.summary["threads"]
    assert re.search(
        rf"images/s by number of threads: 1: .*, 2: .*; using {decision['threads']}",
        caplog.text,
    )
    assert re.search(
        r"216 crops in 27 batches and 9 epochs; .* takes some \d+ s more", caplog.text
    )
    assert len(re.findall("takes some", caplog.text)) == 1


def test_with_a_number_in_the_recipe_all_steps_use_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    made = tiny_fit(None, threads=3)
    assert used[: 3 * 3] == [3] * 9
    assert [decision["threads"] for decision in made.summary["threads"]] == [3]


def test_the_number_before_is_put_back_after_a_failure(tmp_path: Path) -> None:
    def fail(epoch: object, epochs: int) -> None:
        raise OSError("a fault of the machine")

    before = torch.get_num_threads()
    with pytest.raises(OSError, match="fault of the machine"):
        tiny_fit(tmp_path, report=fail, threads=before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.get_num_threads() < 4,
    reason="nothing to choose: two processes share fewer than four cores, or GPUs",
)
def test_processes_that_train_together_compare_together(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "jersey_assets"):
        made = tiny_fit(None, epochs=9, devices=2, threads=None)
    (decision, *_) = made.summary["threads"]
    assert decision["threads"] <= torch.get_num_threads() // 2
    assert "images/s by number of threads: 1: " in caplog.text
    assert len(re.findall("takes some", caplog.text)) == 1
