"""Turns pydantic models (the recipe, …) into run config, and explains its faults.

Dagster checks names and types of run config, also in the Launchpad. Ranges and
contradictory settings are checked when a run is created, by the model that the settings
came from: before anything is read, and before the run exists.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from jersey_assets.runs.dagster_internals import (
    ConfigType,
    ConfigTypeKind,
    EvaluationError,
    OwnShape,
    PostProcessingError,
    RuntimeMismatchErrorData,
)
from jersey_assets.text import readable, shorten

Path = tuple[str, ...]
Fault = tuple[Path, str]
"""A path in the run config, and a sentence about it."""

_LISTED = 12
# Keyed by the names that Dagster (`Int`) and pydantic (`int_type`) use.
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
}
_WRONG_TYPE = ("type", "parsing", "from_float")
_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


class Settings(OwnShape):
    """A pydantic model's fields as the config of an op, which the model validates."""

    def __init__(self, model: type[BaseModel]) -> None:
        """Takes names, types, defaults, descriptions and ranges from a model."""
        super().__init__(_config_class(model).to_fields_dict())  # type: ignore[no-untyped-call]
        self.model = model

    def post_process(self, value: Any) -> Any:
        """Raises if the model refuses the values, defaults included."""
        if found := _refused(self.model, value):
            raise PostProcessingError("; ".join(sentence for _, sentence in found))
        return value


def _config_class(model: type[BaseModel]) -> type[dg.Config]:
    """Makes a Dagster config class; nested models become nested config."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            nested = _config_class(kind)
            fields[name] = (nested, nested())
        else:
            fields[name] = (kind, field)
    return create_model(
        f"{model.__name__}Config", __base__=dg.Config, __doc__=model.__doc__, **fields
    )


def faults(defs: dg.Definitions, config: Mapping[str, Any]) -> list[Fault]:
    """Says what is wrong with run config of the whole graph.

    Args:
        defs: the definitions, with one job of all assets.
        config: the run config.

    Returns:
        Where, what is wrong and what is allowed there; empty if a run may start.
    """
    job = defs.resolve_implicit_global_asset_job_def()
    schema = job.run_config_schema.run_config_schema_type
    found: list[Fault] = []
    try:
        dg.validate_run_config(job, config)
    except dg.DagsterInvalidConfigError as error:
        found = [
            fault for each in error.errors for fault in _described(each, schema, config)
        ]
    found += [
        # Dagster ignores ops and resources that it does not know.
        ((section, name), _unknown(name, (section,), schema))
        for section in ("ops", "resources")
        if isinstance(given := config.get(section), Mapping)
        for name in given
        if name not in _names(_type_at(schema, (section,)))
    ]
    if found:
        return found
    models: dict[Path, type[BaseModel]] = {
        ("resources", name, "config"): type(resource)
        for name, resource in (defs.resources or {}).items()
        if isinstance(resource, BaseModel)
    }
    for node in job.nodes:
        field = node.definition.config_field
        kind = field.config_type if field is not None else None
        if isinstance(kind, Settings):
            models["ops", node.name, "config"] = kind.model
    return [
        ((*path, *where), sentence)
        for path, model in models.items()
        if isinstance(given := _at(config, path), Mapping)
        for where, sentence in _refused(model, given)
    ]


def _described(
    error: EvaluationError, schema: ConfigType, config: Mapping[str, Any]
) -> Iterable[Fault]:
    path = tuple(error.stack.levels)
    data = error.error_data
    if isinstance(data, RuntimeMismatchErrorData):
        value = _at(config, path)
        kind = _type_at(schema, path)
        yield path, f"{_subject(path, value)}; {_wanted(kind)}{_as_number(value)}"
        return
    for name in getattr(data, "field_names", [getattr(data, "field_name", None)]):
        if name is not None and name in (_at(config, path) or {}):
            yield (*path, name), _unknown(name, path, schema)
        elif name is not None:
            yield path, f"`{name}` is missing under {_under(path)}"
    if hasattr(data, "incoming_fields"):
        for name in data.incoming_fields:
            yield (*path, name), _unknown(name, path, schema)


def _unknown(name: str, path: Path, schema: ConfigType) -> str:
    allowed = _names(_type_at(schema, path))
    said = f"`{_shown(name)}` is not {_what(path)}"
    if near := difflib.get_close_matches(str(name), allowed, 1):
        return f"{said}; did you mean `{near[0]}`?"
    homes = [home for home in _homes(schema, str(name)) if home != path]
    if len(homes) == 1:
        return f"{said}; it belongs under {_under(homes[0])}"
    listed = ", ".join(sorted(allowed)[:_LISTED]) or "nothing"
    more = ", …" if len(allowed) > _LISTED else ""
    return f"{said}; allowed there: {listed}{more}"


def _what(path: Path) -> str:
    """What a name at this place would be."""
    if not path:
        return "a section of run config"
    if len(path) == 1:
        kinds = {"ops": "an asset or op of the graph", "resources": "a resource"}
        return kinds.get(path[0], f"known under {_under(path)}")
    if path[0] in ("ops", "resources") and path[2:3] == ("config",):
        return f"a setting of {' '.join((path[1], *path[3:]))}"
    return f"known under {_under(path)}"


def _under(path: Path) -> str:
    return f"`{': '.join(path)}:`" if path else "the top of the file"


def _homes(kind: ConfigType, name: str, path: Path = ()) -> list[Path]:
    """The sections in which a name is allowed."""
    found = [path] if name in _names(kind) else []
    for each in _names(kind):
        found += _homes(_type_at(kind, (each,)), name, (*path, each))
    return found


def _names(kind: ConfigType) -> list[str]:
    return list(getattr(kind, "fields", None) or {})


def _type_at(kind: ConfigType, path: Path) -> ConfigType:
    for name in path:
        if name not in _names(kind):  # below a value that may come from `env:`
            return kind
        kind = kind.fields[name].config_type  # type: ignore[attr-defined]
        while kind.kind is ConfigTypeKind.NONEABLE:
            kind = kind.inner_type  # type: ignore[attr-defined]
    return kind


def _at(config: Any, path: Path) -> Any:
    for name in path:
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def _wanted(kind: ConfigType) -> str:
    """What a value of this config type looks like."""
    if kind.kind is ConfigTypeKind.ENUM:
        return f"choose one of {', '.join(kind.config_values)}"  # type: ignore[attr-defined]
    if _names(kind):
        return f"it must hold settings: {', '.join(_names(kind)[:_LISTED])}"
    scalar = getattr(kind, "scalar_type", kind)
    return f"it must be {_TYPES.get((scalar.given_name or '').lower(), 'text')}"


def _as_number(value: Any) -> str:
    """How to write a number that is given as text, such as `2e-3` in YAML."""
    try:
        return f": write {float(value):g}" if isinstance(value, str) else ""
    except ValueError:
        return ""


def _refused(model: type[BaseModel], values: Mapping[str, Any]) -> list[Fault]:
    """What a model says about its settings."""
    try:
        model(**values)
    except ValidationError as error:
        return [
            (where, _sentence(model, where, each))
            for each in error.errors()
            for where in [tuple(map(str, each["loc"]))]
        ]
    return []


def _sentence(model: type[BaseModel], where: Path, error: Any) -> str:
    if error["type"] == "value_error":  # a sentence of the model's own
        return str(error["ctx"]["error"])
    name, _, fault = error["type"].partition("_")
    kind = _TYPES.get(name, "") if fault in _WRONG_TYPE else ""
    said = ", ".join(filter(None, (kind, _limits(model, where))))
    said = said or error["msg"].removeprefix("Input should be ").lower()
    pattern = error.get("ctx", {}).get("pattern")
    if pattern is not None:
        said = f"text that matches {pattern}"
    return f"{_subject(where, error['input'])}; it must be {said}"


def _limits(model: type[BaseModel], where: Sequence[str]) -> str:
    """The range of a field, in words."""
    field: FieldInfo | None = None
    kind: Any = model
    for name in where:
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return ""
        field = kind.model_fields.get(name)
        kind = field.annotation if field is not None else None
    found = [
        f"{words} {getattr(limit, name)}"
        for limit in (field.metadata if field is not None else [])
        for name, words in _LIMITS.items()
        if hasattr(limit, name)
    ]
    return " and ".join(found)


def _subject(path: Path, value: Any) -> str:
    written = f'the text "{value}"' if isinstance(value, str) else value
    if isinstance(value, bool):
        written = str(value).lower()
    elif value is None:
        written = "empty"
    return f"`{path[-1] if path else 'run config'}` is {_shown(written)}"


def _shown(value: Any) -> str:
    return readable(shorten(str(value)))
