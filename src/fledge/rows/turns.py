"""Turns of a conversation, as OpenAI, ShareGPT, Mistral and axolotl write them, read into messages
as chat templates take them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict, cast

from fledge.errors import UserError
from fledge.rows.census import Census
from fledge.rows.fields import Fields, quote
from fledge.rows.tools import Call, read_call_text, read_calls, read_tools, write_call

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")  # that every template knows


class Message(TypedDict):
    """One turn. `train` False: context only, though the assistant said it; absent: its role
    decides.

    tools: of the first turn, what the assistant may call in the whole conversation. tool_calls,
    reasoning_content: of the assistant's, what it calls and what it thinks before it speaks. name,
    tool_call_id: of a tool's, whose result it is.
    """

    role: Role
    content: str
    train: NotRequired[bool]
    tools: NotRequired[list[Any]]
    tool_calls: NotRequired[list[Call]]
    reasoning_content: NotRequired[str]
    name: NotRequired[str]
    tool_call_id: NotRequired[str]


Conversation = list[Message]

# What each speaker is called in the formats that are read, and on whose side that is: a call is the
# assistant's, a tool's result comes in the user's place.
SPEAKERS: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "tool": "user", "function": "user", "observation": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "model": "assistant", "function_call": "assistant",
}  # fmt: skip
RESULTS = ("tool", "function", "observation")
THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # what different makers call it
FLAGS = ("weight", "train", "training")  # OpenAI and Mistral; axolotl's two


def read_turns(turns: object, field: str, where: str, census: Census) -> Conversation:
    """The messages of a list of turns, {"role": ..., "content": ...} or {"from": ..., "value": ...}
    each.

    Raises UserError for anything else.
    """
    if not isinstance(turns, list) or not turns:
        keys = (
            '"from": ..., "value": ...'
            if field == "conversations"
            else '"role": ..., "content": ...'
        )
        raise UserError(f"the `{field}` of {where} is not a list of turns: write [{{{keys}}}, ...]")
    return [
        read_turn(turn, f"turn {number} of {where}", census)
        for number, turn in enumerate(turns, start=1)
    ]


def read_turn(turn: object, where: str, census: Census) -> Message:
    """Raises UserError, naming the turn, for what cannot be said."""
    if not isinstance(turn, dict):
        raise UserError(f'{where} is not an object: write {{"role": ..., "content": ...}}')
    fields = Fields(turn, where, census)
    who, what = ("from", "value") if "from" in fields else ("role", "content")
    speaker = fields.text(who)
    if speaker not in SPEAKERS:
        known = ", ".join(sorted(SPEAKERS))
        raise UserError(f"the `{who}` of {where} is {speaker!r}: it must be one of {known}")
    role = SPEAKERS[speaker]
    name, calls, link = (fields.take(key) for key in ("name", "tool_calls", "tool_call_id"))
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
    called = None if calls is None else read_calls(calls, where)
    if speaker == "function_call":
        called = read_call_text(content, where)
        content = write_call(content) if called is None else ""
    thoughts = [fields.text(key) for key in THOUGHTS if key in fields]
    if thoughts and role != "assistant":
        raise UserError(f"{where} is the {speaker}'s and has a thought: only the assistant thinks")
    trained = _is_trained(fields, where)
    if trained and role != "assistant":
        raise UserError(
            f"{where} is the {speaker}'s and is marked to be trained: only the assistant's turns "
            "are; take the mark out"
        )
    fields.close()
    message: Message = {"role": "tool" if speaker in RESULTS else role, "content": content}
    if called:
        message["tool_calls"] = called
    if thoughts:
        message["reasoning_content"] = thoughts[0]
    if speaker in RESULTS and name is not None:
        message["name"] = name
    if speaker in RESULTS and isinstance(link, str):
        message["tool_call_id"] = link
    if trained is False and role == "assistant":
        message["train"] = False
    return message


def add_system(turns: Conversation, system: str, tools: object, where: str) -> Conversation:
    """The turns after a system's turn with this text, where there is one, and the first with these
    tools.

    Raises UserError where the turns begin with another one.
    """
    listed = [] if tools is None else read_tools(tools, where)
    own = turns[0]["content"] if turns and turns[0]["role"] == "system" else None
    if own is not None and system not in ("", own):
        raise UserError(
            f"{where} has a `system` and turns that begin with another one: take one of them out"
        )
    if system and not own:
        rest = turns if own is None else turns[1:]
        turns = [{"role": "system", "content": system}, *rest]
    return [{**turns[0], "tools": listed}, *turns[1:]] if listed and turns else turns


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
