"""From OpenAI's messages to a prompt by the model's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from fledge.errors import UserError
from fledge.rows.tools import read_calls
from fledge.rows.turns import Conversation
from fledge.serve.api_errors import ApiError
from fledge.text.chat import render
from fledge.text.tokenizer import Tokenizer

_ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
    "tool": "tool", "function": "tool",
}  # fmt: skip
_KNOWN = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "refusal",
     "annotations", "audio", "function_call"}
)  # fmt: skip


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    reply: bool = True,
) -> list[int]:
    """The prompt that waits for the assistant, of messages as `read_messages` gives them. Raises
    ApiError for what the template cannot say.
    """
    turns: list[Any] = list(messages)
    if tools:
        turns[0] = {**turns[0], "tools": [dict(tool) for tool in tools]}
    try:
        return render(tokenizer, cast(Conversation, turns), reply=reply)[0]
    except (UserError, UnicodeEncodeError, RecursionError) as error:
        raise ApiError(400, f"these messages cannot be said: {error}", param="messages") from None


def read_messages(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """In the form that templates take. Raises ApiError for one that is none."""
    return [read_message(message, i) for i, message in enumerate(messages)]


def read_message(message: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Raises ApiError, naming the message, for one that is none."""
    where = f"messages[{place}]"
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise ApiError(
            400,
            f"the role of {where} is {str(role)[:40]!r}: it is one of {', '.join(_ROLES)}.",
            param=where,
        )
    if unknown := [key for key in message if key not in _KNOWN]:
        raise ApiError(400, f"{where} has `{unknown[0][:60]}`, which is not known.", param=where)
    turn: dict[str, Any] = {"role": _ROLES[role], "content": read_content(message, where)}
    if role == "assistant":
        # Of a prompt nobody asks which tokens were the assistant's: to find them takes long in a
        # conversation of many turns.
        turn["train"] = False
    calls = message.get("tool_calls")
    if calls:
        if role != "assistant":
            raise ApiError(400, f"{where} calls tools: only the assistant does.", param=where)
        try:
            turn["tool_calls"] = read_calls(calls, where)
        except UserError as error:
            raise ApiError(400, str(error), param=where) from None
    for key in ("name", "tool_call_id", "reasoning_content"):
        value = message.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            raise ApiError(400, f"the `{key}` of {where} is no text.", param=where)
        if key != "name" or turn["role"] == "tool":  # of others a template has no place for it
            turn[key] = value
    return turn


def read_content(message: Mapping[str, Any], where: str) -> str:
    """A text, or parts of one. Raises ApiError for pictures and sounds."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None:
        if message.get("tool_calls"):
            return ""
        raise ApiError(400, f"{where} has no `content`: give a text.", param=where)
    if not isinstance(content, list):
        raise ApiError(400, f"the `content` of {where} is no text: give one.", param=where)
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
            raise ApiError(
                400,
                f"a part of {where} is of the type {str(kind)[:40]!r}: only text is read, as "
                '{"type": "text", "text": "…"}.',
                param=where,
            )
        texts.append(text)
    return "".join(texts)
