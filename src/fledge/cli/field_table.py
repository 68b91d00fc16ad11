"""How a config's fields look in `--help`, and which terminal a command speaks to."""

from __future__ import annotations

import inspect
import types
from typing import IO, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fledge.runs.closed_output import Lasting


def terminal(as_json: bool, *, lasting: bool = False) -> Console:
    """Standard output, or standard error where standard output belongs to one JSON object.

    lasting: that it is closed ends nothing, as for a training.
    """
    name = "stderr" if as_json else "stdout"
    file = cast(IO[str], Lasting(name)) if lasting else None
    # Names and words of others are no commands to it.
    return Console(file=file, stderr=as_json and not lasting, markup=False, emoji=False)


def field_table(config: type[BaseModel], verb: type[BaseModel]) -> Table:
    """Every field with what it takes, its default and what it means, in groups: needed ones, the
    verb's own, those of the algorithm that `config` has beside the verb's, then others'.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("field", "takes", "default", "meaning"):
        table.add_column(column, overflow="fold", no_wrap=column == "field")
    for number, (title, names) in enumerate(field_groups(config, verb).items()):
        if number:
            table.add_row()
        table.add_row(Text(title, style="bold"))
        for name in names:
            field = config.model_fields[name]
            default = "needed" if field.default is PydanticUndefined else _word(field.default)
            table.add_row(name, _takes(field.annotation), default, field.description or "")
    return table


def field_groups(config: type[BaseModel], verb: type[BaseModel]) -> dict[str, list[str]]:
    """The fields by what they are about, as their classes have them: {title: names}."""
    needed = [name for name, field in config.model_fields.items() if field.is_required()]
    groups = {"needed": needed} if needed else {}
    seen = set(needed)
    others = [owner for owner in config.__mro__ if owner not in (config, verb)]
    for owner in dict.fromkeys([verb, config, *others]):
        names = [
            name
            for name in config.model_fields
            if name in vars(owner).get("__annotations__", {}) and name not in seen
        ]
        if names and issubclass(owner, BaseModel) and owner is not BaseModel:
            title = paragraphs(owner.__doc__ or owner.__name__)[0].rstrip(".")
            if owner is verb:
                title = "its own"
            elif owner is config:
                title = f"of algorithm={config.model_fields['algorithm'].default}"
            groups[_TITLES.get(owner.__name__, title)] = names
            seen.update(names)
    return groups


def paragraphs(docstring: str) -> list[str]:
    """Each paragraph in one line: where it breaks is for the terminal to say, not for the
    source.
    """
    return [" ".join(paragraph.split()) for paragraph in inspect.cleandoc(docstring).split("\n\n")]


_TITLES = {
    "PairsConfig": "where pairs come from",
    "TrainingConfig": "of every training",
    "JudgeFields": "of a judge of one's own",
    "TextFields": "which texts are read",
}


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
        return " | ".join(
            "none" if part is type(None) else _takes(part) for part in get_args(annotation)
        )
    names = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true | false",
        "Path": "path",
    }
    return names.get(getattr(annotation, "__name__", str(annotation)), str(annotation))
