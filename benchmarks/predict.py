"""How long deployed inference takes to start, with what it needs and nothing else.

`python -m benchmarks.predict`

Installs this package without its extras into a fresh virtual environment, and lets
`jersey-assets predict` read one drawn crop with a model of random weights: whole
processes, in turn with `python -c "import onnxruntime"`, medians.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.export import NOBODY, random_checkpoint
from jersey_assets.export.onnx_model import MODEL_FILE, export_onnx
from jersey_assets.rendering.dataset import LABELS, render_dataset

ROOT = Path(__file__).parents[1]
ROUNDS = 15


def environment(folder: Path) -> Path:
    """Makes the virtual environment; the folder of its commands."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", ROOT], check=True)
    return folder / "bin"


def model_file(folder: Path) -> Path:
    """Exports the default network with random weights."""
    export_onnx(random_checkpoint("jerseynet"), folder, NOBODY)
    return folder / MODEL_FILE


def seconds(command: Sequence[object]) -> float:
    """Wall time of a process that has to succeed."""
    start = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Prints the medians and their ratio."""
    with tempfile.TemporaryDirectory(prefix="jersey-predict-") as temporary:
        folder = Path(temporary)
        binaries = environment(folder / "venv")
        model = model_file(folder)
        render_dataset(folder / "data", len(LABELS), len(LABELS), len(LABELS), seed=0)
        crop = min((folder / "data" / "test" / "crops").iterdir())
        ours = [binaries / "jersey-assets", "predict", model, crop]
        base = [binaries / "python", "-c", "import onnxruntime"]
        packages = subprocess.run(
            [
                binaries / "pip",
                "list",
                "--format=freeze",
                "--disable-pip-version-check",
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        print(f"installed: {', '.join(packages)}")
        seconds(ours), seconds(base)  # the first reads from disk
        pairs = [(seconds(ours), seconds(base)) for _ in range(ROUNDS)]
    predict, imports = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        f"jersey-assets predict: {predict:.3f} s; import onnxruntime: {imports:.3f} s; "
        f"ratio {predict / imports:.2f} ({ROUNDS} pairs, medians)"
    )


if __name__ == "__main__":
    main()
