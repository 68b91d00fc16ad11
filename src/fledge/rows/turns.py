"""Turns of a conversation, as OpenAI, ShareGPT, Mistral and axolotl write them, read into messages
of three roles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict, cast

from fledge.errors import UserError
from fledge.rows.census import Census
from fledge.rows.fields import Fields, quote
from fledge.rows.tools import write_call, write_calls, write_result, write_tools

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


class Message(TypedDict):
    """One turn. `train` False: context only, though the assistant said it; absent: its role
    decides.
    """

    role: Role
    content: str
    train: NotRequired[bool]


Conversation = list[Message]

# What each speaker is called in the formats that are read. A call is the assistant's, a tool's
# result is told by the user.
SPEAKERS: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "tool": "user", "function": "user", "observation": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "model": "assistant", "function_call": "assistant",
}  # fmt: skip
RESULTS = ("tool", "function", "observation")
FLAGS = ("weight", "train", "training")  # OpenAI and Mistral; axolotl's two


def read_turns(turns: object, field: str, where: str, census: Census) -> Conversation:
    """The messages of a list of turns, {"role": ..., "content": ...} or {"from": ..., "value": ...}
    each.

    Results of tools that follow one another are one turn of the user's. Raises UserError for
    anything else.
    """
    if not isinstance(turns, list) or not turns:
        keys = (
            '"from": ..., "value": ...'
            if field == "conversations"
            else '"role": ..., "content": ...'
        )
        raise UserError(f"the `{field}` of {where} is not a list of turns: write [{{{keys}}}, ...]")
    messages: Conversation = []
    was_result = False
    for number, turn in enumerate(turns, start=1):
        place = f"turn {number} of {where}"
        speaker, message = read_turn(turn, place, census)
        is_result = speaker in RESULTS
        if is_result and was_result:
            messages[-1]["content"] += "\n" + message["content"]
        else:
            messages.append(message)
        was_result = is_result
    return messages


def read_turn(turn: object, where: str, census: Census) -> tuple[str, Message]:
    """(who speaks, as the row calls it; the message). Raises UserError, naming the turn, for what
    cannot be said.
    """
    if not isinstance(turn, dict):
        raise UserError(f'{where} is not an object: write {{"role": ..., "content": ...}}')
    fields = Fields(turn, where, census)
    who, what = ("from", "value") if "from" in fields else ("role", "content")
    speaker = fields.text(who)
    if speaker not in SPEAKERS:
        known = ", ".join(sorted(SPEAKERS))
        raise UserError(f"the `{who}` of {where} is {speaker!r}: it must be one of {known}")
    role = SPEAKERS[speaker]
    name, calls = fields.take("name"), fields.take("tool_calls")
    fields.take("tool_call_id")  # links a result with its call, as their order does
    if name is not None and (speaker not in RESULTS or not isinstance(name, str)):
        raise UserError(
            f"{where} has the `name` {quote(name)}, which the chat template cannot say: write it "
            f"into the `{what}`"
        )
    if calls == []:  # an export of OpenAI's API writes it where there are none
        calls = None
    if calls is not None and role != "assistant":
        raise UserError(
            f"{where} has `tool_calls` and is the {speaker}'s: only the assistant calls tools"
        )
    content = _read_content(fields, what, where, needed=calls is None)
    if speaker in RESULTS:
        content = write_result(content, name)
    elif speaker == "function_call":
        content = write_call(content)
    elif calls is not None:
        content = "\n".join(part for part in (content, write_calls(calls, where)) if part)
    trained = _is_trained(fields, where)
    if trained and role != "assistant":
        raise UserError(
            f"{where} is the {speaker}'s and is marked to be trained: only the assistant's turns "
            "are; take the mark out"
        )
    fields.close()
    message: Message = {"role": role, "content": content}
    if trained is False and role == "assistant":
        message["train"] = False
    return speaker, message


def add_system(turns: Conversation, system: str, tools: object, where: str) -> Conversation:
    """The turns after a system's turn with this text and these tools, where there are any.

    Raises UserError where the turns begin with another one.
    """
    listed = "" if tools is None else write_tools(tools, where)
    own = turns[0]["content"] if turns and turns[0]["role"] == "system" else None
    if own is not None and system not in ("", own):
        raise UserError(
            f"{where} has a `system` and turns that begin with another one: take one of them out"
        )
    said = "\n\n".join(part for part in (own or system, listed) if part)
    if said == (own or ""):
        return turns
    return [{"role": "system", "content": said}, *(turns if own is None else turns[1:])]


def mark_as_context(turns: Sequence[Message]) -> Conversation:
    """The same turns, of which none is trained."""
    return [
        cast(Message, {**turn, "train": False}) if turn["role"] == "assistant" else turn
        for turn in turns
    ]


def _read_content(fields: Fields, what: str, where: str, *, needed: bool) -> str:
    """The text of a turn: a string, or a list of parts of which each is a text."""
    if what not in fields and not needed:
        return ""
    value = fields.peek(what)
    if not isinstance(value, list):
        return fields.text(what)
    fields.take(what)
    return "".join(_read_part(part, what, where) for part in value)


def _read_part(part: object, what: str, where: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        given = cast(Mapping[str, Any], part)
        if given.get("type", "text") == "text" and isinstance(given.get("text"), str):
            return given["text"]
    raise UserError(
        f"the `{what}` of {where} has the part {quote(part)}: only parts of type text are read"
    )


def _is_trained(fields: Fields, where: str) -> bool | None:
    """What the turn's own mark says; None without one. Raises UserError for a mark that is neither,
    and for two that differ.
    """
    marks: set[bool] = set()
    for name in FLAGS:
        value = fields.take(name)
        if value is None:
            continue
        if not isinstance(value, int | float) or value not in (0, 1):
            raise UserError(
                f"the `{name}` of {where} is {quote(value)}: it is 0 or 1, false or true"
            )
        marks.add(bool(value))
    if len(marks) > 1:
        raise UserError(
            f"{where} has two marks of which one says that it is trained and one that it is not"
        )
    return marks.pop() if marks else None
