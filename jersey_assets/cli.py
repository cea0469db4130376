"""Check datasets and models, read crops and manage releases, without Dagster."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

from jersey_assets.commands import (
    adopt,
    check_onnx,
    predict,
    releases,
    render,
    sample,
    validate,
)
from jersey_assets.text import readable, shorten


class Command(Protocol):
    """The interface of each module in `commands`; its docstring is the command's help.

    Attributes:
        NEEDS: the packages that it imports, by their names for pip.
    """

    NEEDS: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments."""

    def run(self, options: argparse.Namespace) -> int:
        """Runs the command; returns the exit status."""


COMMANDS: dict[str, Command] = {
    "validate": validate,
    "check-onnx": check_onnx,
    "predict": predict,
    "render": render,
    "sample": sample,
    "adopt": adopt,
    "releases": releases,
}
IMPORTED_AS = {"pillow": "PIL"}
"""The name to import, if it differs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; the process's own
            by default.

    Returns:
        The exit status: 0; 1 if a dataset or model is refused; 2 if the command
        cannot be carried out.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(arguments).parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8
    try:
        _require_packages(options)
        return COMMANDS[options.command].run(options)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        text = readable(f"jersey-assets {options.command}: {shorten(str(error), 2000)}")
        print(text, file=sys.stderr)
        return 2


def _require_packages(options: argparse.Namespace) -> None:
    """Raises ImportError if a package that the command needs is not installed."""
    needs = COMMANDS[options.command].NEEDS.split()
    if getattr(options, "checkpoint", None):
        needs += check_onnx.CHECKPOINT_NEEDS.split()
    missing = [name for name in needs if find_spec(IMPORTED_AS.get(name, name)) is None]
    if missing:
        extra = "" if options.command == "predict" else "[platform]"
        raise ImportError(
            f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} not "
            f"installed; run pip install '.{extra}' in the project's folder to install "
            "what this command needs"
        )


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jersey-assets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        told = command.__doc__
        own = commands.add_parser(name, help=told, description=told)
        if arguments[:1] == [name]:  # the options of other commands import slowly
            command.add_arguments(own)
    return parser


if __name__ == "__main__":
    sys.exit(main())
