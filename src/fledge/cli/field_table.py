"""How a config's fields look in `--help`, and which terminal a command speaks to."""

from __future__ import annotations

import inspect
import types
from typing import IO, Annotated, Any, Literal, Union, cast, get_args, get_origin

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


def field_table(
    config: type[BaseModel], verb: type[BaseModel], *, every: bool = False
) -> tuple[Table, list[str]]:
    """Fields with what they take, their defaults and what they mean, in groups: needed ones, the
    verb's own, those of the algorithm that `config` has beside the verb's, then others'. Beside
    them a line of names and defaults for each group that many verbs share, unless `every` field is
    asked for.
    """
    brief: list[str] = []
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("field", "takes", "default", "meaning"):
        table.add_column(column, overflow="fold", no_wrap=column == "field")
    for title, names in field_groups(config, verb).items():
        if title in SHARED and not every:
            words = (f"{name}={_default(config, name)}" for name in names)
            brief.append(f"{title}: {', '.join(words)}")
            continue
        if table.row_count:
            table.add_row()
        table.add_row(Text(title, style="bold"))
        for name in names:
            field = config.model_fields[name]
            takes, meaning = _takes(field.annotation), field.description or ""
            table.add_row(name, takes, _default(config, name), meaning)
    return table, brief


def _default(config: type[BaseModel], name: str) -> str:
    default = config.model_fields[name].default
    return "needed" if default is PydanticUndefined else _word(default)


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
            elif issubclass(owner, verb):
                title = f"of {owner.__name__.partition(' of ')[2]}"
            title = _TITLES.get(owner.__name__, title)
            groups[title] = [*groups.get(title, []), *names]
            seen.update(names)
    return groups


def paragraphs(docstring: str) -> list[str]:
    """Each paragraph in one line: where it breaks is for the terminal to say, not for the
    source.
    """
    return [" ".join(paragraph.split()) for paragraph in inspect.cleandoc(docstring).split("\n\n")]


_TITLES = {
    "AdapterFields": "what learns",
    "LoraFields": "what learns",
    "PairsConfig": "where pairs come from",
    "RowsConfig": "of rows",
    "TrainingConfig": "of every training",
    "ConstraintFields": "what a completion is bound to",
    "ServerFields": "of answers that a server samples",
    "FamilyField": "of a model of one's own kind",
    "JudgeFields": "of a judge of one's own",
    "EarlyStopFields": "when to end early",
    "LengthFields": "of a built-in task",
    "QuestionFields": "of an evaluation",
    "ReadingFields": "of rows that are odd",
    "TextFields": "which texts are read",
    "EncoderTuneConfig": "of an encoder and its rows",
    "FreezeFields": "of weights that learn, or not",
    "NgramFields": "of architecture=ngram",
    "EncoderFields": "of architecture=bert and modernbert",
    "ObjectiveFields": "of what is learned of a text",
    "ExpertFields": "of a mixture of experts",
    "RoutingSettings": "of a mixture of experts",
    "PretrainConfig": "of raw text",
    "OrderFields": "of raw text",
    "QuestionsOfVectors": "asked of vectors that are there",
}
# What many verbs have, and few people change: a line each, unless all is asked for.
IN_FULL = (
    "EarlyStopFields", "EncoderTuneConfig", "PairsConfig", "QuestionFields", "QuestionsOfVectors",
)  # fmt: skip
SHARED = {title for owner, title in _TITLES.items() if owner not in IN_FULL}


def _word(value: Any) -> str:
    return (
        {None: "none", True: "true", False: "false"}.get(value, str(value))
        if not isinstance(value, int | float) or isinstance(value, bool)
        else f"{value:g}"
    )


def _takes(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _takes(get_args(annotation)[0])
    if origin is tuple:
        return "list of " + _takes(get_args(annotation)[0])
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
        "dict": "JSON object",
    }
    return names.get(getattr(annotation, "__name__", str(annotation)), str(annotation))
