"""A tool: what a model is told of it, and what a call of it comes to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fledge.errors import UserError

SHOWN = 4000  # characters of a result that the model is given


@dataclass(frozen=True)
class Tool:
    """parameters: name to what it is; each is a text, and the first is what a call in plain words,
    as in ReAct, gives. call: takes them by name; raises UserError for what it cannot do.
    """

    name: str
    description: str
    parameters: Mapping[str, str]
    call: Callable[..., str]
    needed: tuple[str, ...] = ()  # by default all of them

    def describe(self) -> dict[str, Any]:
        """In OpenAI's form."""
        properties = {
            name: {"type": "string", "description": what} for name, what in self.parameters.items()
        }
        schema = {
            "type": "object",
            "properties": properties,
            "required": list(self.needed or self.parameters),
        }
        function = {"name": self.name, "description": self.description, "parameters": schema}
        return {"type": "function", "function": function}


def call_tool(tools: Sequence[Tool], name: str, arguments: str | Mapping[str, Any]) -> str:
    """What the model is told: the result, or in one sentence what was wrong with its call. A
    model's mistake ends nothing.
    """
    tool = next((tool for tool in tools if tool.name == name), None)
    if tool is None:
        return f"Error: there is no tool {name!r}: {', '.join(each.name for each in tools)}."
    try:
        given = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
    except (ValueError, RecursionError):
        return f"Error: the arguments of {name} are no JSON."
    if not isinstance(given, dict):
        return f"Error: the arguments of {name} are no object."
    if missing := [each for each in tool.needed or tool.parameters if each not in given]:
        return f"Error: {name} needs {missing[0]}."
    if unknown := [each for each in given if each not in tool.parameters]:
        return f"Error: {name} takes no {unknown[0]}."
    try:
        result = tool.call(**{key: _clean(str(value)) for key, value in given.items()})
    except UserError as error:
        return f"Error: {error}"
    return result if len(result) <= SHOWN else f"{result[:SHOWN]} …"


def _clean(text: str) -> str:
    """JSON may hold halves of characters, of which there is no UTF-8."""
    return text.encode(errors="replace").decode()
