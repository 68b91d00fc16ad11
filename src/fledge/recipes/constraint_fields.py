"""The fields of recipes whose completions may be bound to a form: a pattern, a list, a JSON schema,
a grammar.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from fledge.engine.constraint import Constraint
from fledge.engine.structures import choice, grammar, json_schema, regex
from fledge.engine.vocabulary import vocabulary_of
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.json_file import read_bytes

MOST_BYTES = 1 << 20  # of a file with a schema or a grammar


def _parse_texts(value: Any) -> Any:
    """One text, or a JSON list of them."""
    if not isinstance(value, str):
        return value
    if not value.startswith("["):
        return (value,)
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('a list of texts looks like ["one", "two"]') from None


Texts = Annotated[tuple[str, ...], BeforeValidator(_parse_texts)]


class ConstraintFields(BaseModel):
    """One of them at the most."""

    regex: str | None = Field(
        default=None, description="a regular expression that the whole completion matches"
    )
    choices: Texts | None = Field(
        default=None, description='["yes", "no"]: the completion is one of these'
    )
    json_schema: Path | dict[str, Any] | None = Field(
        default=None, description="a file with a JSON schema, which the completion is JSON of"
    )
    grammar: Path | None = Field(
        default=None, description="a file with a grammar in Lark's syntax, whose `start` it is"
    )

    def check_constraint(self) -> None:
        """Raises UserError for two of them, and for an empty list."""
        given = [name for name in ConstraintFields.model_fields if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(f"{given[0]} and {given[1]} were given: choose one of them.")
        if self.choices == ():
            raise UserError(
                'choices=[] leaves nothing to say: give one or more, such as choices=["yes", "no"].'
            )

    @property
    def is_constrained(self) -> bool:
        return any(getattr(self, name) is not None for name in ConstraintFields.model_fields)

    @property
    def constraint_files(self) -> list[str]:
        """For a run's lineage."""
        return [str(path) for path in (self.json_schema, self.grammar) if isinstance(path, Path)]

    def make_constraint(self, model: Loaded) -> Constraint | None:
        """What completions of this model may say, None for anything. Raises UserError as
        `check_constraint` does, for a file that cannot be read, and for what cannot be followed.
        """
        self.check_constraint()
        stop = model.tokenizer.ends
        if self.regex is not None:
            return regex(self.regex, vocabulary_of(model.tokenizer), stop)
        if self.choices is not None:
            return choice(self.choices, vocabulary_of(model.tokenizer), stop)
        if self.json_schema is not None:
            given = self.json_schema
            schema = given if isinstance(given, dict) else _read_schema(given)
            return json_schema(schema, vocabulary_of(model.tokenizer), stop)
        if self.grammar is not None:
            return grammar(_read_text(self.grammar), vocabulary_of(model.tokenizer), stop)
        return None


def _read_schema(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON ({error}): give a file with a JSON schema.") from None


def _read_text(path: Path) -> str:
    mend = "give a text file"
    try:
        return read_bytes(path, largest=MOST_BYTES, mend=mend).decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is not there: give a file with a schema or a grammar.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 ({error}): {mend}.") from None
