"""Tools, calls, results and thoughts of a conversation: read as structure, for the chat templates
that know them; and written as text for those that do not, in the tags of Hermes and Qwen.

What tools there are then stands in the system's turn, a call is what the assistant says, a result
is what the user says next:

    <tools>            <tool_call>                                 <tool_response>
    {"name": ...}      {"name": ..., "arguments": {...}}           ...
    </tools>           </tool_call>                                </tool_response>
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from fledge.errors import UserError
from fledge.rows.fields import quote

if TYPE_CHECKING:
    from fledge.rows.turns import Conversation, Message

Call = dict[str, Any]
Tools = Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True)
class Known:
    """What a chat template has words of its own for."""

    tools: bool = False
    calls: bool = False
    results: bool = False
    thoughts: bool = False


def read_tools(tools: object, where: str) -> list[Any]:
    """A list of tools, or its JSON, as objects; or of one description in plain words."""
    listed = _parsed(tools) if isinstance(tools, str) else tools
    if isinstance(listed, str):
        return [listed] if listed else []
    if not isinstance(listed, list):
        raise UserError(
            f"the `tools` of {where} are {quote(tools)}: write a list of tools, or its JSON as a "
            "string"
        )
    return listed


def read_calls(calls: object, where: str) -> list[Call]:
    """The calls of one turn in OpenAI's format: [{"type": "function", "function": {"name": ...,
    "arguments": ...}}, ...], with arguments as objects, not as JSON in a string.
    """
    if not isinstance(calls, list):
        raise UserError(f"the `tool_calls` of {where} are {quote(calls)}: write a list of calls")
    read: list[Call] = []
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UserError(
                f"a call in the `tool_calls` of {where} is {quote(call)}: write "
                '{"type": "function", "function": {"name": ..., "arguments": {...}}}'
            )
        own = {} if function is call else call
        said = {"name": function["name"], "arguments": _parsed(function.get("arguments", {}))}
        read.append({"type": "function", **own, "function": said})
    return read


def read_call_text(text: str, where: str) -> list[Call] | None:
    """The call that ShareGPT's function_call has as JSON; None of another text."""
    call = _parsed(text)
    if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
        return None
    return read_calls([call], where)


def write_call(call: object) -> str:
    """One call: an object, or a text."""
    return f"<tool_call>\n{_json(_parsed(call))}\n</tool_call>"


def say_in_tags(turns: Sequence[Message], known: Known) -> Conversation:
    """The turns with all that a template has no words for as text. Results of tools that follow one
    another become one turn of the user's.

    The ids that link a call with its result are not said: their order says as much.
    """
    said: list[Any] = []
    was_result = False
    for turn in turns:
        message: dict[str, Any] = dict(turn)
        is_result = message["role"] == "tool"
        if message.get("reasoning_content") and not known.thoughts:
            thought = message.pop("reasoning_content")
            message["content"] = f"<think>\n{thought}\n</think>\n\n{message['content']}"
        if message.get("tool_calls") and not known.calls:
            calls = (write_call(call["function"]) for call in message.pop("tool_calls"))
            message["content"] = "\n".join(part for part in (message["content"], *calls) if part)
        if is_result and not known.results:
            message = {"role": "user", "content": _write_result(message)}
            if was_result:
                said[-1]["content"] += "\n" + message["content"]
                continue
        was_result = is_result
        said.append(message)
    plain = any(isinstance(tool, str) for tool in said[0].get("tools", ())) if said else False
    if said and "tools" in said[0] and (plain or not known.tools):
        said = _list_in_system(said)
    return cast("Conversation", said)


def _list_in_system(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tools of the first turn, a line each, below the system's own words."""
    first = {name: value for name, value in turns[0].items() if name != "tools"}
    listed = "\n".join(["<tools>", *map(_json, turns[0]["tools"]), "</tools>"])
    if first["role"] != "system":
        return [{"role": "system", "content": listed}, first, *turns[1:]]
    said = "\n\n".join(part for part in (first["content"], listed) if part)
    return [{**first, "content": said}, *turns[1:]]


def _write_result(message: dict[str, Any]) -> str:
    """What a tool answered, with the tool's name where the row gives one."""
    content, name = message["content"], message.get("name")
    said = content if name is None else _json({"name": name, "content": content})
    return f"<tool_response>\n{said}\n</tool_response>"


def _parsed(value: object) -> Any:
    """What JSON in a string says; any other string, and anything else, as it is."""
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return parsed if isinstance(parsed, dict | list) else value


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
