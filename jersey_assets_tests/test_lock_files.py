"""What is installed: pinned everywhere, by digest, from wherever pip is set to look."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = ("constraints.txt", "requirements.txt", "requirements-dev.txt")
LOCKED = FILES[1:]


def entries(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """Each pin of a file with its digests, by name."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            pin, *digests = re.split(r"\s--hash=", line)
            requirement = Requirement(pin.strip())
            found[canonicalize_name(requirement.name)] = requirement, digests
    return found


def named(extras: list[str]) -> list[Requirement]:
    """What pyproject.toml asks for."""
    project = PROJECT["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines if not line.startswith("jersey-assets")]


@pytest.mark.parametrize("name", FILES)
def test_a_lock_file_says_nothing_about_where_files_come_from(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"://|^\s*-|\.(org|com|net)\b", text.replace("--hash=", ""))


@pytest.mark.parametrize("name", LOCKED)
def test_every_pin_is_the_one_of_the_constraints_and_has_digests(name: str) -> None:
    pins = entries("constraints.txt")
    for package, (requirement, digests) in entries(name).items():
        assert str(requirement.specifier) == str(pins[package][0].specifier)
        assert str(requirement.specifier).startswith("==")
        assert digests, package
        for digest in digests:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest.strip()), package


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("requirements.txt", ["platform", "s3"]),
        ("requirements-dev.txt", list(PROJECT["project"]["optional-dependencies"])),
    ],
)
def test_all_that_the_project_asks_for_is_locked(name: str, extras: list[str]) -> None:
    locked = entries(name)
    for wanted in [
        *named(extras),
        *map(Requirement, PROJECT["build-system"]["requires"]),
    ]:
        pin, _ = locked[canonicalize_name(wanted.name)]
        pinned = str(pin.specifier).removeprefix("==")
        assert wanted.specifier.contains(pinned, prereleases=True), wanted


def test_nothing_open_is_asked_for_where_releases_were_malware() -> None:
    exact = {r.name for r in named(["platform"]) if str(r.specifier).startswith("==")}
    assert {"lightning", "pytorch-lightning"} <= exact
    (build,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert str(build.specifier).startswith("==")


def test_what_is_pinned_is_what_is_installed() -> None:
    wrong = {}
    for package, (pin, _) in entries("requirements-dev.txt").items():
        if pin.marker is None or pin.marker.evaluate():
            try:
                found = version(package)
            except PackageNotFoundError:
                found = "missing"
            if not pin.specifier.contains(found, prereleases=True):
                wrong[package] = found
    assert wrong == {}


def test_what_is_installed_fits_together() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
