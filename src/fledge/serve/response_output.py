"""What a response says, as items: a message, and calls of functions. Heard piece by piece, each
piece becomes the events that a stream tells of it.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from fledge.serve.spoken import Told
from fledge.text.tool_calls import ToolCall

Event = tuple[str, dict[str, Any]]  # its type, and what else it says


class ResponseOutput:
    """`hear` what comes, then `end`: `items` are what was said in all.

    tell: log-probabilities of tokens, as the API has them.
    """

    def __init__(self, tell: Callable[[Sequence[Told]], list[dict[str, Any]]]) -> None:
        self.items: list[dict[str, Any]] = []
        self._tell = tell
        self._message: int | None = None  # its place among the items
        self._text, self._tokens = "", list[Told]()
        self._waiting: list[Told] = []  # tokens whose text is held back

    def hear(self, text: str, calls: Sequence[ToolCall], tokens: Sequence[Told]) -> list[Event]:
        """The tokens of calls are not told of."""
        self._waiting += tokens
        events = self._say(text) if text else []
        for call in calls:
            events += self._call(call)
            self._waiting = []
        return events

    def end(self, status: str) -> list[Event]:
        """status: of the message. An answer without a word is an empty one."""
        events = [] if self.items and not self._waits_in_message() else self._say("")
        if self._message is None:
            return events
        place = self._place()
        part = write_text(self._text, self._tell(self._tokens))
        item = self._write_message([part], status)
        self.items[self._message] = item
        said = {"text": self._text, "logprobs": part["logprobs"]}
        return [
            *events,
            ("response.output_text.done", place | said),
            ("response.content_part.done", place | {"part": part}),
            ("response.output_item.done", {"output_index": self._message, "item": item}),
        ]

    def _waits_in_message(self) -> bool:
        """Whether tokens without a text of their own end the message."""
        return self._message == len(self.items) - 1 and bool(self._waiting)

    def _say(self, text: str) -> list[Event]:
        events = [] if self._message is not None else self._open_message()
        tokens, self._waiting = self._waiting, []
        self._text += text
        self._tokens += tokens
        if text or tokens:
            said = {"delta": text, "logprobs": self._tell(tokens)}
            events.append(("response.output_text.delta", self._place() | said))
        return events

    def _open_message(self) -> list[Event]:
        self._message = len(self.items)
        self.items.append({"id": f"msg_{secrets.token_hex(12)}"})
        item = self._write_message([], "in_progress")
        return [
            ("response.output_item.added", {"output_index": self._message, "item": item}),
            ("response.content_part.added", self._place() | {"part": write_text("", [])}),
        ]

    def _place(self) -> dict[str, Any]:
        assert self._message is not None
        item = self.items[self._message]["id"]
        return {"item_id": item, "output_index": self._message, "content_index": 0}

    def _write_message(self, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        assert self._message is not None
        return {
            "id": self.items[self._message]["id"],
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _call(self, call: ToolCall) -> list[Event]:
        """A call is told of when it is complete: its arguments are one delta."""
        index = len(self.items)
        item = {
            "id": f"fc_{secrets.token_hex(12)}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        self.items.append(item)
        begun = item | {"status": "in_progress", "arguments": ""}
        place = {"item_id": item["id"], "output_index": index}
        whole = {"name": call.name, "arguments": call.arguments}
        return [
            ("response.output_item.added", {"output_index": index, "item": begun}),
            ("response.function_call_arguments.delta", place | {"delta": call.arguments}),
            ("response.function_call_arguments.done", place | whole),
            ("response.output_item.done", {"output_index": index, "item": item}),
        ]


def write_text(text: str, told: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": told}
