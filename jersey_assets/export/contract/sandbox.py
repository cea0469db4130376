"""Opens an untrusted model in a child process with limits on time and memory.

A hostile file can make the child hang, crash or grow; that becomes a sentence in an
`Observation`. This protects against accidents and known tricks, but is not a jail: the
child runs as the same user.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import jersey_assets
from jersey_assets.export.contract.observation import Observation
from jersey_assets.files import open_regular


@dataclass(frozen=True)
class Limits:
    """What an untrusted model may use.

    Attributes:
        seconds: wall-clock time for all questions together.
        memory_bytes: address space of the child.
        file_bytes: size of the model file; protobuf's limit is 2 GiB.
    """

    seconds: float = 120.0
    memory_bytes: int = 8 * 2**30
    file_bytes: int = 2**31 - 1


def observe(model: Path, limits: Limits | None = None) -> Observation:
    """Opens a model in a child process and asks it the contract's questions.

    Args:
        model: the file.
        limits: of the child.

    Raises:
        ImportError: what the child needs is not installed.
    """
    limits = limits or Limits()
    try:
        descriptor = open_regular(model)
    except OSError as error:
        return Observation(faults=(f"{model}: {error.strerror}",))
    try:
        size = os.fstat(descriptor).st_size
        if size > limits.file_bytes:
            what = f"the file has {size} bytes; at most {limits.file_bytes} are allowed"
            return Observation(faults=(what,))
        with TemporaryDirectory(prefix="jersey-probe-") as folder:
            return _run_child(descriptor, limits, Path(folder))
    finally:
        os.close(descriptor)


def _run_child(descriptor: int, limits: Limits, folder: Path) -> Observation:
    command = [sys.executable, "-P", "-m", "jersey_assets.export.contract.probe"]
    command += [str(limits.memory_bytes), str(math.ceil(limits.seconds))]
    try:
        with (folder / "errors").open("wb") as errors:
            done = subprocess.run(
                command,
                stdin=descriptor,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=folder,
                env=_environment(folder),
                timeout=limits.seconds,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return _died(folder, f"not finished after {limits.seconds:g} s")
    if done.returncode:
        said = (folder / "errors").read_text(errors="replace")[-2000:].split("\n")
        detail = next((line[:200] for line in reversed(said) if line.strip()), "")
        if detail.startswith("ModuleNotFoundError: "):  # not the model's fault
            raise ImportError(detail.partition(": ")[2])
        return _died(folder, f"the process ended with {done.returncode} ({detail})")
    return _read(folder)


def _environment(folder: Path) -> dict[str, str]:
    """Gives the child what it needs to import, and none of our secrets."""
    home = Path(jersey_assets.__file__).parents[1]
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH")}
    return {
        **kept,
        "PYTHONPATH": str(home),
        "HOME": str(folder),
        # One arena per thread would count against the address space.
        "MALLOC_ARENA_MAX": "2",
    }


def _died(folder: Path, how: str) -> Observation:
    try:
        stage = (folder / "stage").read_text()
    except OSError:
        stage = "starting"
    return Observation(faults=(f"{how}, while {stage}",))


def _read(folder: Path) -> Observation:
    seen = json.loads((folder / "seen.json").read_text())
    with np.load(folder / "answers.npz", allow_pickle=False) as answers:
        arrays = {name: answers[name] for name in answers.files}
    weights = {}
    if "weights" in seen:
        with np.load(folder / "weights.npz", allow_pickle=False) as tensors:
            weights = {n: tensors[f"w{i}"] for i, n in enumerate(seen["weights"])}
    return Observation(
        faults=tuple(seen["faults"]),
        score_faults=tuple(seen["score_faults"]),
        errors=seen["errors"],
        inputs=tuple((n, t, tuple(s)) for n, t, s in seen.get("inputs", ())),
        outputs=tuple((n, t, tuple(s)) for n, t, s in seen.get("outputs", ())),
        properties=seen.get("properties", {}),
        sha256=seen.get("sha256", ""),
        answers=arrays,
        operators=seen.get("operators", 0),
        weights=weights,
        opset=seen.get("opset", 0),
        int8_share=seen.get("int8_share", 0.0),
    )
