"""The version of the code that makes an artifact: a digest of what it can run.

The syntax trees of the module that makes the content and of all modules that it
imports, wherever the import stands, and the versions of the libraries that they name.
Comments, docstrings and where a file lies change nothing. Neither do the figures:
pictures show content and do not make it.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# Libraries whose distribution has another name than their module.
_DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml"}
_STANDARD = frozenset({"__future__", *sys.stdlib_module_names})


@dataclass(frozen=True)
class _Module:
    """What one source file adds: its own digest, and what it imports."""

    digest: bytes
    modules: frozenset[str]
    libraries: frozenset[str]


@cache
def code_version(module: str, package: Path = _PACKAGE) -> str:
    """Digests the code and the libraries that an artifact's content comes from.

    Args:
        module: the module that makes the content, below the package: `training.fit`.
        package: the folder of the package.

    Returns:
        12 hex digits, the same for the same code and library versions.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    found: dict[str, _Module] = {}
    queue = [f"{package.name}.{module}"]
    while queue:
        name = queue.pop()
        if name in found or name.split(".")[1:2] == ["plots"]:
            continue
        found[name] = _read_module(name, package)
        queue.extend(found[name].modules)
    digest = hashlib.sha256()
    # Sorted by content: a file that moves as it is leaves the version as it was.
    for own in sorted({module.digest for module in found.values()}):
        digest.update(own)
    for library in sorted(set().union(*(m.libraries for m in found.values()))):
        distribution = _DISTRIBUTIONS.get(library, library)
        digest.update(f"{library}=={version(distribution)}\0".encode())
    return digest.hexdigest()[:12]


@cache
def _read_module(name: str, package: Path) -> _Module:
    source = _find(name, package)
    if source is None:
        raise ModuleNotFoundError(f"no module named {name}", name=name)
    reader = _Reader(package)
    reader.read(ast.parse(source.read_bytes()))
    text = "\0".join([*reader.parts, *sorted(reader.imported)])
    return _Module(
        hashlib.sha256(text.encode()).digest(),
        frozenset(reader.modules),
        frozenset(reader.libraries),
    )


def _find(name: str, package: Path) -> Path | None:
    path = package.parent.joinpath(*name.split("."))
    sources = (path.with_suffix(".py"), path / "__init__.py")
    return next((source for source in sources if source.is_file()), None)


class _Reader:
    """Writes a syntax tree down without what does not run, and notes its imports.

    Imports are noted apart and sorted, since they stand in the order of the names of
    the files, and a file of ours may be renamed.
    """

    def __init__(self, package: Path) -> None:
        self._package = package
        self.parts: list[str] = []
        self.imported: list[str] = []
        self.modules: set[str] = set()
        self.libraries: set[str] = set()

    def read(self, node: ast.AST) -> None:
        """Adds a node and everything below it."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._note(alias.name, ())
                self.imported.append(f"{alias.name} as {alias.asname}")
            return
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            ours = self._note(module, [alias.name for alias in node.names])
            self.imported.extend(
                f"{'' if ours else module}:{alias.name} as {alias.asname}"
                for alias in node.names
            )
            return
        self.parts.append(type(node).__name__)
        for field, value in ast.iter_fields(node):
            if isinstance(value, list):
                self.parts.append(f"{field}[")
                for item in _that_count(value):
                    self._read_value(item)
                self.parts.append("]")
            else:
                self.parts.append(field)
                self._read_value(value)

    def _read_value(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self.read(value)
        else:
            self.parts.append(repr(value))

    def _note(self, module: str, names: Iterable[str]) -> bool:
        """Notes an import; says whether it is one of the package's own modules."""
        root = module.partition(".")[0]
        if root != self._package.name:
            if root not in _STANDARD:
                self.libraries.add(root)
            return False
        self.modules.update(self._modules_of(module, names))
        return True

    def _modules_of(self, module: str, names: Iterable[str]) -> Iterator[str]:
        # Importing a module runs the packages that it lies in as well.
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            yield ".".join(parts[:end])
        for name in names:
            if _find(f"{module}.{name}", self._package) is not None:
                yield f"{module}.{name}"


def _that_count(items: list[object]) -> Iterator[object]:
    for item in items:
        if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
            continue  # a docstring
        if isinstance(item, ast.If) and _is_for_typing(item.test):
            continue
        if isinstance(item, ast.keyword) and item.arg == "description":
            continue  # what the help of a setting says
        yield item


def _is_for_typing(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
