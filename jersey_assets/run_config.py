"""Run config made from the rooms' own settings, so that a knob is written once."""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import BaseModel, create_model


def config_class(model: type[BaseModel]) -> type[dg.Config]:
    """Makes a Dagster config class with a pydantic model's fields.

    Types, defaults, descriptions and ranges are the model's; nested models become
    nested config.
    """
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            nested = config_class(kind)
            fields[name] = (nested, nested())
        else:
            fields[name] = (kind, field)
    return create_model(
        f"{model.__name__}Config", __base__=dg.Config, __doc__=model.__doc__, **fields
    )
