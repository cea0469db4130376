"""Commands where one package is not installed: a sentence and 2, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import jersey_assets
from jersey_assets.cli import COMMANDS, IMPORTED_AS
from jersey_assets.commands.check_onnx import CHECKPOINT_NEEDS
from jersey_assets.export.onnx_model import export_onnx
from jersey_assets.storage.manifest import Origin
from jersey_assets.storage.store import Store
from jersey_assets.training.checkpoint import Checkpoint, load_checkpoint
from jersey_assets_tests.export.models import PROVENANCE

PROGRAM = "from jersey_assets.cli import main; raise SystemExit(main())"


@dataclass(frozen=True)
class Installation:
    """An environment with this one's packages, each of which can be taken away."""

    home: Path

    @property
    def packages(self) -> Path:
        """Where the packages are, as links."""
        (folder,) = self.home.glob("lib/*/site-packages")
        return folder

    def run(
        self, arguments: list[str | Path], cwd: Path
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command line in there."""
        kept = {k: v for k, v in os.environ.items() if k.startswith(("PATH", "AWS"))}
        return subprocess.run(
            [self.home / "bin" / "python", "-c", PROGRAM, *arguments],
            cwd=cwd,
            env=kept | {"HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )

    def imported(self) -> set[str]:
        """The packages that were imported in there since the last call."""
        noted = self.home / "imported"
        names = set(noted.read_text().split()) - {*sys.stdlib_module_names}
        noted.unlink()
        return {name for name in names if name != "jersey_assets" and self.links(name)}

    def links(self, name: str) -> list[Path]:
        """What belongs to a package, by the name that it is imported as."""
        found = [self.packages / name, *self.packages.glob(f"{name}.*")]
        return [path for path in found if path.is_symlink()]

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Takes a package away, here and in what processes of here start."""
        taken = {link: link.readlink() for link in self.links(name)}
        for link in taken:
            link.unlink()
        try:
            yield
        finally:
            for link, target in taken.items():
                link.symlink_to(target)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A virtual environment that notes what is imported, in any of its processes."""
    made = Installation(tmp_path_factory.mktemp("installation"))
    venv.create(made.home)
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.suffix not in (".pth", "") or path.is_dir():
            (made.packages / path.name).symlink_to(path)
    ours = made.packages / "jersey_assets"
    ours.unlink(missing_ok=True)
    ours.symlink_to(Path(jersey_assets.__file__).parent)
    (made.packages / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "@atexit.register\n"
        "def note():\n"
        f"    with open({str(made.home / 'imported')!r}, 'a') as file:\n"
        "        print(*{name.partition('.')[0] for name in sys.modules}, file=file)\n"
    )
    return made


@pytest.fixture(scope="module")
def places(
    rendered: Path, resnet: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """What the commands are asked about, by name."""
    folder = tmp_path_factory.mktemp("places")
    resnet.save(folder / "model.ckpt")
    export_onnx(load_checkpoint(folder / "model.ckpt"), folder, PROVENANCE)

    def make(folder: Path) -> None:
        report = {"split": "test", "images": 40, "top1": 0.9}
        (folder / "evaluation_report.json").write_text(json.dumps(report))

    store = Store(str(folder / "artifacts"))
    trained = store.publish("trained_checkpoint", Origin("1"), make)
    facts = {"dataset": "rendered"}
    store.publish("released_model", Origin("1", (trained,)), make, facts)
    return {
        "DATA": rendered,
        "CROP": next((rendered / "test" / "crops").iterdir()),
        "MODEL": folder / "model.onnx",
        "CHECKPOINT": folder / "model.ckpt",
        "LABELS": folder / "labels_mapping.json",
        "ARTIFACTS": folder / "artifacts",
    }


def lacking(
    installation: Installation,
    arguments: list[str | Path],
    cwd: Path,
    needs: str,
) -> None:
    """Runs a command with everything, then without each package that it imports."""
    whole = installation.run(arguments, cwd)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    needed = {IMPORTED_AS.get(name, name): name for name in needs.split()}
    for name in sorted(installation.imported() | needed.keys()):
        with installation.without(name):
            ended = installation.run(arguments, cwd)
        told = f"without {name}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        if name in needed:
            assert f" {needed[name]} is not installed;" in ended.stderr, told
        if name in needed or ended.returncode:  # others can do without it
            assert ended.returncode == 2, told
            assert ended.stderr.startswith(f"jersey-assets {arguments[0]}: "), told
            assert ended.stderr.count("\n") == 1, told


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("validate DATA", marks=SLOW),
        pytest.param("check-onnx MODEL --labels LABELS", marks=SLOW),
        pytest.param("check-onnx MODEL --checkpoint CHECKPOINT", marks=SLOW),
        "predict MODEL CROP",
        "render out --train 26 --valid 26 --test 26",
        "render out --faults",
        "sample",
        "adopt DATA --artifacts ARTIFACTS",
        "releases list --artifacts ARTIFACTS",
    ],
)
def test_a_command_without_one_of_its_packages_says_so(
    command: str,
    installation: Installation,
    places: dict[str, Path],
    tmp_path: Path,
) -> None:
    (tmp_path / "data" / "sample").mkdir(parents=True)  # nothing to draw for `sample`
    arguments = [places.get(word, word) for word in command.split()]
    needs = COMMANDS[str(arguments[0])].NEEDS
    if "--checkpoint" in arguments:
        needs = f"{needs} {CHECKPOINT_NEEDS}"
    lacking(installation, arguments, tmp_path, needs)


@pytest.mark.slow
def test_a_store_at_a_url_without_one_of_its_packages_says_so(
    installation: Installation, bucket: str, tmp_path: Path
) -> None:
    arguments: list[str | Path] = ["releases", "list", "--artifacts", bucket]
    lacking(installation, arguments, tmp_path, COMMANDS["releases"].NEEDS)


def test_every_command_is_among_them() -> None:
    (mark,) = test_a_command_without_one_of_its_packages_says_so.pytestmark
    commands = [getattr(each, "values", [each])[0] for each in mark.args[1]]
    assert {command.split()[0] for command in commands} == COMMANDS.keys()
