"""Tools, calls and results as text, in the tags of Hermes and Qwen: our chat template has no roles
of their own for them.

What tools there are stands in the system's turn, a call is what the assistant says, a result is
what the user says next:

    <tools>            <tool_call>                                 <tool_response>
    {"name": ...}      {"name": ..., "arguments": {...}}           ...
    </tools>           </tool_call>                                </tool_response>
"""

from __future__ import annotations

import json
from typing import Any

from fledge.errors import UserError
from fledge.rows.fields import quote


def write_tools(tools: object, where: str) -> str:
    """A list of tools, or its JSON, one tool a line; "" for an empty one."""
    listed = _parsed(tools) if isinstance(tools, str) else tools
    if isinstance(listed, str):  # a description in plain words
        return f"<tools>\n{listed}\n</tools>" if listed else ""
    if not isinstance(listed, list):
        raise UserError(
            f"the `tools` of {where} are {quote(tools)}: write a list of tools, or its JSON as a "
            "string"
        )
    return "\n".join(["<tools>", *(_json(tool) for tool in listed), "</tools>"]) if listed else ""


def write_calls(calls: object, where: str) -> str:
    """The calls of one turn in OpenAI's format: [{"type": "function", "function": {"name": ...,
    "arguments": ...}}, ...].

    The ids that link a call with its result are not said: their order says as much.
    """
    if not isinstance(calls, list):
        raise UserError(f"the `tool_calls` of {where} are {quote(calls)}: write a list of calls")
    said = []
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UserError(
                f"a call in the `tool_calls` of {where} is {quote(call)}: write "
                '{"type": "function", "function": {"name": ..., "arguments": {...}}}'
            )
        arguments = function.get("arguments", {})
        said.append(write_call({"name": function["name"], "arguments": _parsed(arguments)}))
    return "\n".join(said)


def write_call(call: object) -> str:
    """One call: an object, or the text that ShareGPT's function_call has, most often JSON."""
    return f"<tool_call>\n{_json(_parsed(call))}\n</tool_call>"


def write_result(content: str, name: str | None) -> str:
    """What a tool answered, with the tool's name where the row gives one."""
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
