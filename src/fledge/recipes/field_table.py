"""How a config's fields look in `--help`, and which terminal a command speaks to."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.table import Table


def terminal(as_json: bool) -> Console:
    """Standard output, or standard error where standard output belongs to one JSON object."""
    return Console(stderr=as_json, markup=False, emoji=False)  # names and words of others are no commands to it


def field_table(config: type[BaseModel]) -> Table:
    """Every field with what it takes, its default and what it means: a recipe's own fields first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("field", "takes", "default", "meaning"):
        table.add_column(column, overflow="fold", no_wrap=column == "field")
    own = [name for name in config.model_fields if name in config.__annotations__]
    for name in [*own, *(name for name in config.model_fields if name not in own)]:
        field = config.model_fields[name]
        default = "needed" if field.default is PydanticUndefined else _word(field.default)
        table.add_row(name, _takes(field.annotation), default, field.description or "")
    return table


def _word(value: Any) -> str:
    return (
        {None: "none", True: "true", False: "false"}.get(value, str(value))
        if not isinstance(value, int | float) or isinstance(value, bool)
        else f"{value:g}"
    )


def _takes(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " | ".join(str(choice) for choice in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " | ".join("none" if part is type(None) else _takes(part) for part in get_args(annotation))
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true | false", "Path": "path"}
    return names.get(getattr(annotation, "__name__", str(annotation)), str(annotation))
