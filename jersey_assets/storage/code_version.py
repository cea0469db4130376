"""Computes the code version of an artifact: a digest of all code that makes it.

It covers the syntax trees of the module that makes the content and of all modules that
it imports, wherever the import is, and the versions of the libraries that they import.
Comments, docstrings and the place of a file do not count, nor do figures, which only
show content.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import repeat
from pathlib import Path

from jersey_assets.files import cache_folder, replace_file

_PACKAGE = Path(__file__).parents[1]
# Libraries whose distribution has another name than their module.
_DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml"}
# Libraries that another one uses and that none of our code imports.
_BEHIND = {"onnx": ("onnxscript",)}
_STANDARD = frozenset({"__future__", *sys.stdlib_module_names})


@dataclass(frozen=True)
class _Module:
    """What one source file contributes: its own digest, and what it imports."""

    digest: str
    modules: list[str]
    libraries: list[str]


@cache
def code_version(*makers: str, package: Path = _PACKAGE) -> str:
    """Digests the code and the libraries that an artifact's content comes from.

    Args:
        makers: the modules that make the content, below the package: `training.fit`.
        package: the folder of the package.

    Returns:
        12 hex digits, the same for the same code and library versions.

    Raises:
        ModuleNotFoundError: the module does not exist.
    """
    modules = _read_package(package)
    found: dict[str, _Module] = {}
    queue = [f"{package.name}.{maker}" for maker in makers]
    while queue:
        name = queue.pop()
        if name in found or name.split(".")[1:2] == ["plots"]:
            continue
        if name not in modules:
            raise ModuleNotFoundError(f"no module named {name}", name=name)
        found[name] = modules[name]
        queue.extend(found[name].modules)
    digest = hashlib.sha256()
    # Sorted by content: moving an unchanged file does not change the version.
    for own in sorted({module.digest for module in found.values()}):
        digest.update(own.encode())
    libraries = {name for module in found.values() for name in module.libraries}
    for library in sorted(libraries.union(*map(_BEHIND.get, libraries, repeat(())))):
        distribution = _DISTRIBUTIONS.get(library, library)
        digest.update(f"{library}=={version(distribution)}\0".encode())
    return digest.hexdigest()[:12]


@cache
def _read_package(package: Path) -> dict[str, _Module]:
    """Reads every module of the package.

    Parsing takes a quarter of a second, and every process that loads the graph needs
    it: the result for the same bytes is kept in the user's cache folder.
    """
    sources = {
        ".".join([package.name, *_dotted(file.relative_to(package))]): file.read_bytes()
        for file in sorted(package.rglob("*.py"))
    }
    templates = {file.name: file.read_bytes() for file in package.rglob("*.jinja")}
    read = sorted((sources | templates).items())
    everything = b"\0".join(
        part for name, data in read for part in (bytes(name, "utf-8"), data)
    )
    key = hashlib.sha256(Path(__file__).read_bytes() + everything).hexdigest()
    name = hashlib.sha256(bytes(package)).hexdigest()[:16]
    # Without a home, or on a full disk, it is parsed again.
    with suppress(OSError, RuntimeError, ValueError, TypeError, KeyError):
        kept = json.loads((cache_folder("code") / f"{name}.json").read_bytes())
        if kept["key"] == key:
            return {name: _Module(**read) for name, read in kept["modules"].items()}
    modules = {
        name: _Reader(package.name, sources.keys()).read_module(
            source, *(templates[t] for t in sorted(templates) if t.encode() in source)
        )
        for name, source in sources.items()
    }
    with suppress(OSError, RuntimeError):
        content = {"key": key, "modules": {n: asdict(m) for n, m in modules.items()}}
        path = cache_folder("code") / f"{name}.json"
        replace_file(path, json.dumps(content).encode())
    return modules


def _dotted(file: Path) -> tuple[str, ...]:
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


class _Reader:
    """Digests a syntax tree without what does not run, and collects its imports.

    Imports are collected separately and sorted, since their order follows the files'
    names, and our files may move.
    """

    def __init__(self, package: str, modules: Collection[str]) -> None:
        self._package = package
        self._known = modules
        self._parts: list[str] = []
        self._imported: list[str] = []
        self._modules: set[str] = set()
        self._libraries: set[str] = set()

    def read_module(self, source: bytes, *templates: bytes) -> _Module:
        """Reads a module and the page templates that it uses."""
        self._read(ast.parse(source))
        text = "\0".join([*self._parts, *sorted(self._imported)])
        digest = hashlib.sha256(b"\0".join([text.encode(), *templates])).hexdigest()
        return _Module(digest, sorted(self._modules), sorted(self._libraries))

    def _read(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._note(alias.name, ())
                self._imported.append(f"{alias.name} as {alias.asname}")
            return
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            ours = self._note(module, [alias.name for alias in node.names])
            self._imported.extend(
                f"{module.split('.')[-1] if ours else module}:{alias.name} as "
                f"{alias.asname}"
                for alias in node.names
            )
            return
        self._parts.append(type(node).__name__)
        for field, value in ast.iter_fields(node):
            if isinstance(value, list):
                self._parts.append(f"{field}[")
                for item in _that_count(value):
                    self._read_value(item)
                self._parts.append("]")
            else:
                self._parts.append(field)
                self._read_value(value)

    def _read_value(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self._read(value)
        else:
            self._parts.append(repr(value))

    def _note(self, module: str, names: Iterable[str]) -> bool:
        """Records an import; returns whether it is one of the package's own modules."""
        root = module.partition(".")[0]
        if root != self._package:
            if root not in _STANDARD:
                self._libraries.add(root)
            return False
        self._modules.update(self._modules_of(module, names))
        return True

    def _modules_of(self, module: str, names: Iterable[str]) -> Iterator[str]:
        # Importing a module also runs the packages that contain it.
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            yield ".".join(parts[:end])
        for name in names:
            if f"{module}.{name}" in self._known:
                yield f"{module}.{name}"


def _that_count(items: list[object]) -> Iterator[object]:
    for item in items:
        if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
            continue  # a docstring
        if isinstance(item, ast.If) and _is_for_typing(item.test):
            continue
        if isinstance(item, ast.keyword) and item.arg == "description":
            continue  # the description of a setting
        yield item


def _is_for_typing(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
