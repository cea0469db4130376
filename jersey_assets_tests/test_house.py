"""The rules of the house: data flows one way, and the front door opens fast."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {
    "lightning",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "pandas",
    "pandera",
    "torch",
    "torchmetrics",
    "torchvision",
}


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    script = f"{statement}\nimport sys, json\nprint(json.dumps(list(sys.modules)))"
    printed = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    return {name.partition(".")[0] for name in json.loads(printed.splitlines()[-1])}


def test_rooms_import_only_rooms_before_them_and_no_dagster() -> None:
    linted = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout


def test_no_modules_import_each_other_not_even_inside_functions() -> None:
    graph = grimp.build_graph(
        "jersey_assets", cache_dir=None, exclude_type_checking_imports=True
    )
    imports = {
        module: graph.find_modules_directly_imported_by(module)
        for module in graph.modules
    }
    graphlib.TopologicalSorter(imports).prepare()  # raises, and names the circle


@pytest.mark.parametrize(
    ("module", "statement", "broken"),
    [
        (
            "labels/mapping.py",
            "import jersey_assets.training.recipe",
            "Data flows one way through the rooms",
        ),
        ("reader/session.py", "import onnx", "What is deployed is complete in itself"),
    ],
)
def test_the_linter_sees_an_import_that_breaks_a_rule(
    module: str, statement: str, broken: str, tmp_path: Path
) -> None:
    package = tmp_path / "jersey_assets"
    for source in (ROOT / "jersey_assets").rglob("*.py"):
        copy = package / source.relative_to(ROOT / "jersey_assets")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    changed = package / module
    changed.write_text(f"{changed.read_text()}\n{statement}\n")
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    linted = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 1
    assert f"{broken} BROKEN" in linted.stdout


def test_the_picture_of_the_imports_has_no_circle(tmp_path: Path) -> None:
    drawn = subprocess.run(
        [sys.executable, ROOT / "docs" / "draw_house.py", tmp_path / "house.png"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert drawn.returncode == 0, drawn.stdout + drawn.stderr
    assert (tmp_path / "house.png").read_bytes().startswith(b"\x89PNG")


def test_the_front_door_imports_no_heavy_library() -> None:
    assert modules_after("import jersey_assets.definitions") & HEAVY == set()


@pytest.mark.parametrize("command", ["--help", "predict --help"])
def test_help_imports_no_heavy_library(command: str) -> None:
    loaded = modules_after(
        "from jersey_assets.cli import main\n"
        f"try:\n    main({command.split()!r})\n"
        "except SystemExit:\n    pass"
    )
    assert loaded & (HEAVY | {"dagster"}) == set()


def seconds(node: ast.AST | None) -> float | None:
    """A number written into the code."""
    value = getattr(node, "value", None)
    return float(value) if type(value) in (int, float) else None


def short_deadlines(tree: ast.AST) -> Iterator[int]:
    """Lines at which code gives up within a minute on something that it waits for."""
    for node in ast.walk(tree):
        limits: list[ast.AST] = []
        match node:
            case ast.Call(func=ast.Attribute(attr="wait" | "join" | "result" | "get")):
                limits += node.args[:1]
            case ast.BinOp(ast.Call(func=ast.Attribute(attr="monotonic")), ast.Add()):
                limits.append(node.right)
            case ast.For(iter=ast.Call(func=ast.Name(id="range"))):
                inside = [part for line in node.body for part in ast.walk(line)]
                sleeps = any(
                    isinstance(part, ast.Attribute) and part.attr == "sleep"
                    for part in inside
                )
                if sleeps and any(
                    isinstance(part, ast.Return | ast.Break) for part in inside
                ):
                    yield node.lineno
        if isinstance(node, ast.Call):
            limits += [key.value for key in node.keywords if key.arg == "timeout"]
        for limit in limits:
            number = seconds(limit)
            if number is not None and number < 60:
                yield node.lineno


def test_no_test_gives_up_within_a_minute() -> None:
    found = [
        f"{path.name}:{line}"
        for path in sorted((ROOT / "jersey_assets_tests").rglob("*.py"))
        for line in short_deadlines(ast.parse(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "process.wait(10)",
        "process.communicate(timeout=30)",
        "subprocess.run(command, timeout=5.0)",
        "deadline = time.monotonic() + 20",
        "for _ in range(200):\n    if done():\n        break\n    time.sleep(0.05)",
    ],
)
def test_short_deadlines_are_seen(code: str) -> None:
    assert list(short_deadlines(ast.parse(code))) == [1]
    longer = code.replace("10)", "100)").replace("=30", "=300").replace("5.0", "60.0")
    longer = longer.replace("+ 20", "+ 200").replace("        break", "        pass")
    assert list(short_deadlines(ast.parse(longer))) == []


def test_onnxruntime_sessions_come_from_one_place() -> None:
    maker = "Inference" + "Session"
    folders = [ROOT / name for name in ("jersey_assets", "benchmarks")]
    makers = [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in folder.rglob("*.py")
        if maker in path.read_text("utf-8")
    ]
    assert makers == ["jersey_assets/reader/session.py"]
