"""How long loading the code location takes, against importing Dagster alone.

Each import is a process of its own, the two in turn, so that a change of the
machine's speed meets both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
BASELINE = "import dagster"
OURS = "import jersey_assets.definitions"


def seconds_to_run(statement: str) -> float:
    """Wall seconds of a fresh interpreter that runs a statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Prints both medians, and the median of the ratios taken pair by pair."""
    for statement in (BASELINE, OURS):  # compiles and warms the disk cache
        seconds_to_run(statement)
    pairs = [(seconds_to_run(OURS), seconds_to_run(BASELINE)) for _ in range(ROUNDS)]
    ours, baseline = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{BASELINE:<34} {baseline:.3f} s")
    print(f"{OURS:<34} {ours:.3f} s")
    print(f"ratio, median of {ROUNDS} pairs        {ratio:.2f}")


if __name__ == "__main__":
    main()
