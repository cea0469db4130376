"""Checks the run config, then materializes the whole graph: `make materialize`.

    python -m jersey_assets.materialize [-c FILE]...

`dagster asset materialize` does the work. If the run config has faults, they are
reported by file and line and nothing is started. Of several files, later ones override
earlier ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import yaml

from jersey_assets.text import readable, shorten

Place: TypeAlias = tuple[str, ...]

_TEXT_KEYS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")

# Dagster warns about newer commands and features at each start.
_QUIET = (
    "ignore:Function `asset_materialize_command`,ignore:Parameter `include_sources`"
)


class ConfigError(ValueError):
    """The run config cannot be used: one line per fault, with file and line."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Checks the run config, and becomes `dagster asset materialize`.

    The exit status is that command's, or 2 if nothing was started.

    Args:
        arguments: the command line without the program's name; the process's own by
            default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m jersey_assets.materialize",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument(
        "-c", "--config", action="append", default=[], type=Path, help="run config"
    )
    options = parser.parse_args(arguments)
    try:
        config = read_run_config(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    dagster = str(Path(sys.executable).with_name("dagster"))
    command = [dagster, "asset", "materialize", "--select", "*"]
    command += ["-m", "jersey_assets.definitions", "--config-json", json.dumps(config)]
    os.environ.setdefault("PYTHONWARNINGS", _QUIET)
    sys.stdout.flush()
    # The same process: signals reach the run, and its exit status is the command's.
    os.execv(dagster, command)


def read_run_config(files: Sequence[Path]) -> dict[str, Any]:
    """Reads files of run config, merges them and checks the result.

    Args:
        files: YAML files; later ones override earlier ones.

    Raises:
        ConfigError: a file cannot be read, or a run would not start with them.
    """
    config: dict[str, Any] = {}
    lines: dict[Place, str] = {}
    for file in files:
        _merge(config, _read(file, lines))
    from jersey_assets.definitions import defs
    from jersey_assets.graph.config import faults

    if found := faults(defs, config):
        raise ConfigError(
            "\n".join(f"{_where(place, lines)}{said}" for place, said in found)
        )
    return config


def _read(file: Path, lines: dict[Place, str]) -> dict[str, Any]:
    """Reads a file, and notes the line of every key."""
    try:
        text = file.read_text("utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        said = " ".join(str(getattr(error, "problem", error)).split())
        raise ConfigError(f"{file}{line}: this is not YAML: {said}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{file}:1: run config has sections, such as `ops:` and `resources:`"
        )
    own: dict[Place, str] = {}
    try:
        keys = list(_keys(node))
    except RecursionError as error:
        raise ConfigError(
            f"{file}:1: an alias refers to a value that contains it"
        ) from error
    for place, number, is_text in keys:
        if not is_text:
            name = readable(shorten(place[-1]))
            raise ConfigError(
                f"{file}:{number}: names in run config are text; write '{name}'"
            )
        if place in own:
            name = readable(shorten(place[-1]))
            raise ConfigError(
                f"{file}:{number}: `{name}` is set for the second time; the first is "
                f"at {own[place]}"
            )
        own[place] = f"{file}:{number}"
    lines |= own
    return content


def _keys(node: yaml.Node, place: Place = ()) -> Iterator[tuple[Place, int, bool]]:
    """Yields every key with its line, and whether it is text."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*place, str(key.value))
            yield below, key.start_mark.line + 1, key.tag in _TEXT_KEYS
            yield from _keys(value, below)


def _where(place: Place, lines: dict[Place, str]) -> str:
    while place:
        if place in lines:
            return f"{lines[place]}: "
        place = place[:-1]
    return ""


def _merge(config: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(config.get(name), dict):
            _merge(config[name], value)
        else:
            config[name] = value


if __name__ == "__main__":
    main()
