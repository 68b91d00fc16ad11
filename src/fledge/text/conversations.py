"""Reads conversations from a .jsonl file, in any of the four shapes in which instruction data is passed around."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from fledge.errors import UserError
from fledge.text.chat import ROLES, Conversation, Message
from fledge.text.files import json_rows

ANSWERS = ("completion", "answer", "response")

# The names of the speakers in rows of the shape {"conversations": [{"from": ..., "value": ...}]}.
_SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", **{role: role for role in ROLES}}


def rows_from_jsonl(path: str | Path) -> list[Conversation]:
    """The conversations of a .jsonl or .jsonl.gz file, one a line, as `conversation` reads them.

    Raises UserError for a file without any, and, naming the line, for a broken one or one of another shape.
    """
    path = Path(path).expanduser()
    if path.exists() and not path.name.lower().removesuffix(".gz").endswith(".jsonl"):
        raise UserError(f"{path} is of a kind that is not read: conversations come from .jsonl or .jsonl.gz files")
    conversations = [conversation(row, f"line {line} of {path}") for line, row in json_rows(path)]
    if not conversations:
        raise UserError(f"{path} is empty: it holds no conversations")
    return conversations


def conversation(row: dict[str, Any], where: str) -> Conversation:
    """The conversation of one row, which has one of these shapes:

        {"messages": [{"role": "user", "content": ...}, ...]}
        {"prompt": ..., "completion" or "answer" or "response": ...}
        {"instruction": ..., "input": ..., "output": ...}              input may be empty or absent
        {"conversations": [{"from": "human", "value": ...}, ...]}

    where: the row's place, for messages. Raises UserError for another shape, or an unknown role.
    """
    if "messages" in row:
        return _turns(row["messages"], "messages", "role", "content", {role: role for role in ROLES}, where)
    if "conversations" in row:
        return _turns(row["conversations"], "conversations", "from", "value", _SPEAKERS, where)
    if "instruction" in row:
        given = [_text(row, "instruction", where)]
        if row.get("input"):
            given.append(_text(row, "input", where))
        return _exchange("\n\n".join(given), _text(row, "output", where))
    present = [field for field in ANSWERS if field in row]
    if "prompt" in row and not present:
        raise UserError(
            f"{where} has a `prompt` and no `completion` (or `answer`, or `response`): add what is to be said"
        )
    if "prompt" not in row:
        has = ", ".join(f"`{field}`" for field in row) or "nothing"
        raise UserError(
            f"{where} has no `prompt`; it has {has}. A row is `prompt` and `completion` (or `answer`, or `response`), "
            "`instruction` and `output`, `messages`, or `conversations`."
        )
    return _exchange(_text(row, "prompt", where), _text(row, present[0], where))


def _exchange(prompt: str, answer: str) -> Conversation:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def _text(row: dict[str, Any], field: str, where: str) -> str:
    if field not in row:
        raise UserError(f"{where} has no `{field}`: add it")
    if not isinstance(row[field], str):
        raise UserError(f"the `{field}` of {where} is not a string: write it in quotation marks")
    return row[field]


def _turns(turns: object, field: str, who: str, what: str, roles: dict[str, str], where: str) -> Conversation:
    if not isinstance(turns, list) or not turns:
        raise UserError(
            f'the `{field}` of {where} is not a list of turns: write [{{"{who}": ..., "{what}": ...}}, ...]'
        )
    messages: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        place = f"turn {number} of {where}"
        if not isinstance(turn, dict):
            raise UserError(f'{place} is not an object: write {{"{who}": ..., "{what}": ...}}')
        name = _text(turn, who, place)
        if name not in roles:
            raise UserError(f"the `{who}` of {place} is {name!r}: it must be one of {', '.join(roles)}")
        messages.append(cast(Message, {"role": roles[name], "content": _text(turn, what, place)}))
    return messages
