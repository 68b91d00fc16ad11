"""What a response is asked, as a chat completion that asks the same: items of `input` become
messages, calls of functions and their results among them, and tools are written as chats have them.
https://platform.openai.com/docs/guides/function-calling
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fledge.serve.api_errors import ApiError
from fledge.serve.wire import ChatBody, ResponsesBody

# What this server said of an item itself, and what else may stand in a call and a result.
_SAID = frozenset({"type", "id", "status"})
_CALL = _SAID | {"call_id", "name", "arguments"}
_RESULT = _SAID | {"call_id", "output"}
# What a chat's errors call the fields of this endpoint.
_NAMES = {
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "`messages`": "`input`",
    '"function", "function": {"name": "…"}}': '"function", "name": "…"}',
}


@dataclass
class Turns:
    """messages: of a chat. places: what each is called in the body that it was read from."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    called: set[str] = field(default_factory=set)  # the ids of calls that were made

    def add(self, message: dict[str, Any], place: str) -> None:
        self.messages.append(message)
        self.places.append(place)

    def add_item(self, item: dict[str, Any], place: str) -> None:
        """Raises ApiError for what is neither a message, nor a call, nor a result."""
        kind = item.get("type", "message")
        if kind == "message":
            # Without what this server said of it itself.
            own = {name: value for name, value in item.items() if name not in _SAID}
            self.add(own, place)
        elif kind == "function_call":
            self._add_call(item, place)
        elif kind == "function_call_output":
            self._add_result(item, place)
        else:
            raise ApiError(
                400,
                f"{place} is of the type {str(kind)[:40]!r}: messages, function_call and "
                "function_call_output are read.",
                param=place,
            )

    def _add_call(self, item: dict[str, Any], place: str) -> None:
        """Calls in a row, and a text before them, are one turn of the assistant's."""
        _check_fields(item, _CALL, ("call_id", "name", "arguments"), place)
        self.called.add(item["call_id"])
        if not self.messages or self.messages[-1].get("role") != "assistant":
            self.add({"role": "assistant", "content": None, "tool_calls": []}, place)
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        last = self.messages[-1]
        last["tool_calls"] = [*last.get("tool_calls", ()), call]

    def _add_result(self, item: dict[str, Any], place: str) -> None:
        _check_fields(item, _RESULT, ("call_id",), place)
        if item["call_id"] not in self.called:
            raise ApiError(
                400,
                f"{place} is the result of {item['call_id'][:60]!r}, a call that does not stand "
                "before it: nothing is kept here, so send the function_call too.",
                param=place,
            )
        said = {"role": "tool", "tool_call_id": item["call_id"], "content": item.get("output")}
        self.add(said, place)


def _check_fields(
    item: Mapping[str, Any], known: frozenset[str], texts: tuple[str, ...], place: str
) -> None:
    """Raises ApiError for a field that is not known, and for one that is no text."""
    for name in texts:
        if not isinstance(item.get(name), str):
            raise ApiError(400, f"the `{name}` of {place} is no text: give one.", param=place)
    for name, value in item.items():
        if name not in known and value is not None:
            raise ApiError(400, f"{place} has `{name[:60]}`, which is not known.", param=place)


def read_turns(body: ResponsesBody) -> Turns:
    """Raises ApiError for an item that cannot be read, and where there is none."""
    turns = Turns()
    if body.instructions is not None:
        turns.add({"role": "system", "content": body.instructions}, "instructions")
    if isinstance(body.input, str):
        turns.add({"role": "user", "content": body.input}, "input")
    else:
        for i, item in enumerate(body.input):
            turns.add_item(item, f"input[{i}]")
    if not turns.messages:
        raise ApiError(400, "`input` is an empty list: give a message or more.", param="input")
    return turns


def as_chat(body: ResponsesBody, turns: Turns) -> ChatBody:
    """Raises ApiError for what a chat has no word for."""
    wants = "message.output_text.logprobs" in (body.include or ())
    fields = {
        "model": body.model,
        "messages": turns.messages,
        "max_completion_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "stream": body.stream,
        "logprobs": wants or bool(body.top_logprobs),
        "top_logprobs": body.top_logprobs,
        "response_format": read_format(body.text),
        "tools": [read_tool(tool, i) for i, tool in enumerate(body.tools or ())] or None,
        "tool_choice": body.tool_choice,
        "parallel_tool_calls": body.parallel_tool_calls,
    }
    return ChatBody(**{name: value for name, value in fields.items() if value is not None})


def read_format(text: dict[str, Any] | None) -> dict[str, Any] | None:
    """`text.format` as the `response_format` of a chat. Raises ApiError for one that is none."""
    form = (text or {}).get("format")
    if form is None:
        return None
    if not isinstance(form, dict):
        raise ApiError(
            400, f"`text.format` was {str(form)[:40]!r}: give an object, such as "
            '{"type": "text"}.', param="text",
        )  # fmt: skip
    if form.get("type") != "json_schema":
        return form
    schema = {key: value for key, value in form.items() if key != "type"}
    return {"type": "json_schema", "json_schema": schema}


def read_tool(tool: dict[str, Any], place: int) -> dict[str, Any]:
    """With its function a level below, where chat templates look for it. Raises ApiError for what
    is no function with a name.
    """
    name = tool.get("name")
    if tool.get("type") != "function" or not isinstance(name, str) or not name:
        raise ApiError(
            400,
            f"tools[{place}] is no function with a name: give "
            '{"type": "function", "name": "…", "parameters": {…}}.',
            param=f"tools[{place}]",
        )
    function = {key: value for key, value in tool.items() if key != "type" and value is not None}
    return {"type": "function", "function": function}


@contextmanager
def own_names(turns: Turns) -> Iterator[None]:
    """What is raised inside names the fields of this endpoint, not those of a chat."""

    def rename(text: str) -> str:
        text = re.sub(r"messages\[(\d+)\]", lambda place: turns.places[int(place[1])], text)
        for name, own in _NAMES.items():
            text = text.replace(name, own)
        return text

    try:
        yield
    except ApiError as error:
        raise error.rename(rename) from None
