"""Finds the fastest number of CPU threads by timing the training's own steps.

Threads wait for each other many times in a step. Alone on a machine two are faster than
one; beside other work each wait lasts until the slowest gets a core again, and two
threads have been seen to take four times as long as one. So the training's own steps
are timed with each number: at the start, when their speed changes, and now and then.
The results stay the same except for the order of sums, which changes the last bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from statistics import fmean

ROUNDS, BLOCK = 3, 3
"""A comparison gives each number of threads this many blocks of this many steps in
turn; the first step of a block, which includes the change, does not count."""
HOPELESS = 2.0
"""A number this many times slower than the best is dropped from the comparison."""
WINDOW, CHANGE = 16, 1.25
"""The speed has changed if the mean of this many steps is off by this factor."""
PRICE_OF_CHANGE, PRICE = 0.03, 0.01
"""Share of the time that comparisons may cost: if the speed changed, and otherwise."""
REST_S = 60.0
"""Least seconds of steps between comparisons while the speed does not change."""

Times = dict[int, float]
"""Seconds of a step, by number of threads."""


def fastest(
    candidates: Sequence[int], decided: Callable[[Times], None]
) -> Generator[int, float, None]:
    """Yields the number of threads for each step, and is sent the step's seconds.

    Args:
        candidates: the numbers to choose from.
        decided: called after each comparison with the times of those that were not
            dropped; the fastest is used from then on.
    """
    while True:
        times, lost = yield from _compare(candidates)
        best = min(times, key=times.__getitem__)
        decided(times)
        yield from _keep(best, times[best], lost)


def _compare(
    candidates: Sequence[int],
) -> Generator[int, float, tuple[Times, float]]:
    """Times the candidates in turn; returns their times and the cost, in s."""
    counted: dict[int, list[float]] = {count: [] for count in candidates}
    spent: list[float] = []
    for _ in range(ROUNDS):
        for count in list(counted):
            for step in range(BLOCK):
                spent.append((yield count))
                others = [t for other, t in counted.items() if t and other != count]
                if not step:
                    continue
                if others and spent[-1] > HOPELESS * min(map(fmean, others)):
                    del counted[count]
                    break
                counted[count].append(spent[-1])
    times = {count: fmean(seconds) for count, seconds in counted.items()}
    return times, sum(spent) - len(spent) * min(times.values())


def _keep(count: int, expected: float, lost: float) -> Generator[int, float, None]:
    """Keeps a number of threads until another comparison is worth its cost."""
    window: deque[float] = deque(maxlen=WINDOW)
    passed = 0.0
    while True:
        seconds = yield count
        passed += seconds
        window.append(seconds)
        changed = len(window) == WINDOW and not (
            expected / CHANGE <= fmean(window) <= expected * CHANGE
        )
        if passed >= lost / (PRICE_OF_CHANGE if changed else PRICE) and (
            changed or passed >= REST_S
        ):
            return
