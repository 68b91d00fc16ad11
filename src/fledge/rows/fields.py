"""One object of a row, whose keys are taken one by one: a key that nobody took is an error, so that
nothing is dropped in silence.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from fledge.errors import UserError
from fledge.rows.census import Census

# Keys that say where a row comes from, or what somebody thought of it, and hold nothing that a
# model could be trained on.
METADATA = frozenset((
    "_id", "category", "conversation_id", "created_at", "data_source", "dataset", "difficulty",
    "generator", "id", "idx", "index", "lang", "language", "level", "license", "meta", "metadata",
    "model", "model_name", "origin", "parallel_tool_calls", "prompt_id", "question_id", "rating",
    "row_id", "score", "score_chosen", "score_rejected", "source", "split", "subset", "tag", "tags",
    "task", "timestamp", "topic", "uid", "url", "uuid",
))  # fmt: skip


class Fields:
    """The keys of an object that are still to be read; a key whose value is null counts as absent.

    where: the object's place, for messages. names: its keys, as a sentence lists them. Keys that
    the user named in `ignore_keys` are absent too.
    """

    def __init__(self, row: Mapping[str, Any], where: str, census: Census) -> None:
        self.where, self.census = where, census
        given = {key: value for key, value in row.items() if value is not None}
        self._left = {
            key: value for key, value in given.items() if key not in census.reading.ignored
        }
        self._known: set[str] = set()
        for key in given.keys() - self._left.keys():
            census.pass_over(key)
        self.names = ", ".join(f"`{key}`" for key in given) or "nothing"

    def __contains__(self, name: str) -> bool:
        """Whether the object has this key, and nobody has taken it yet."""
        self._known.add(name)
        return name in self._left

    def peek(self, name: str) -> Any:
        """The value of a key, which stays to be taken; None where there is none."""
        return self._left.get(name) if name in self else None

    def take(self, name: str) -> Any:
        """The value of a key; None where there is none, or where somebody has taken it."""
        return self._left.pop(name) if name in self else None

    def text(self, name: str) -> str:
        """The string of a key. Raises UserError where there is none, or where it is no string."""
        if name not in self:
            raise UserError(f"{self.where} has no `{name}`: add it")
        value = self.take(name)
        if not isinstance(value, str):
            raise UserError(
                f"the `{name}` of {self.where} is not a string, it is {quote(value)}: write it in "
                "quotation marks"
            )
        return value

    def text_or(self, name: str, absent: str) -> str:
        """The string of a key that may be absent; 0 and false are there, and are no strings."""
        return self.text(name) if name in self else absent

    def close(self) -> None:
        """What is left is metadata, and is counted. Raises UserError, with the nearest known key,
        for anything else.
        """
        for name in self._left:
            if name in METADATA:
                self.census.pass_over(name)
                continue
            near = difflib.get_close_matches(str(name), self._known - {name}, n=1)
            perhaps = f" (perhaps you meant `{near[0]}`)" if near else ""
            raise UserError(
                f"{self.where} has the key `{name}`, which is not read{perhaps}: take it out, or "
                f"leave it unread with ignore_keys={name}"
            )


def quote(value: object) -> str:
    """How a value of JSON is written in a sentence: cut to 60 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
