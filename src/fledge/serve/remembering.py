"""Chat completions of a server with a memory: what is remembered is put before the question, calls
of the memory's tools are answered here, and the answer says what it stands on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request

from fledge.prompting.remembering import ROUNDS, Remembering
from fledge.serve.chat_answer import DONE, ChatAnswer, open_chat, write_event
from fledge.serve.service import ServedMemory, Service
from fledge.serve.wire import ChatBody
from fledge.text.tool_calls import ToolCall

SOURCE = "served chat"
# With these the answer's form is the client's: nothing of ours may stand in it.
_OWN_FORM = (
    "tools", "response_format", "structured_outputs", "guided_json", "guided_regex",
    "guided_choice", "guided_grammar", "continue_tokens",
)  # fmt: skip

Open = Callable[[ChatBody], Awaitable[ChatAnswer]]


async def remember(service: Service, memory: ServedMemory, body: ChatBody) -> RememberingAnswer:
    """The answer, under way. Raises ApiError for what cannot be answered."""
    remembering = Remembering(memory.store, memory.shown, SOURCE)

    async def open_answer(changed: ChatBody) -> ChatAnswer:
        return await open_chat(service, changed)

    answer = RememberingAnswer(body, remembering, open_answer, tools=memory.tools)
    await answer.begin()
    return answer


class RememberingAnswer:
    """One answer, of one round or of several with calls between. open: begins the answer to a
    body. tools: whether the model is told of the memory's.
    """

    def __init__(
        self, body: ChatBody, remembering: Remembering, open_answer: Open, *, tools: bool
    ) -> None:
        self.body, self.remembering, self.open = body, remembering, open_answer
        free = all(getattr(body, name) is None for name in _OWN_FORM)
        tools = tools and free and (body.n or 1) == 1 and body.tool_choice is None
        self.left = ROUNDS if tools else 0  # of calls that may still be answered
        self.current: ChatAnswer | None = None

    def cancel(self) -> None:
        if self.current is not None:
            self.current.exchange.cancel()

    async def begin(self) -> None:
        """Looks up, and begins the first round. Raises ApiError for what cannot be answered."""
        messages = list(self.body.messages)
        place = max(
            (i for i, one in enumerate(messages) if one.get("role") == "user"), default=None
        )
        content = None if place is None else messages[place].get("content")
        parts = list_parts(content)
        if place is not None and parts:
            question = "".join(part["text"] for part in parts)
            # In a thread: SQLite may wait for another process.
            told = await asyncio.to_thread(self.remembering.put_before, question)
            before = {"type": "text", "text": told.removesuffix(question)}
            changed = told if isinstance(content, str) else [before, *parts]
            messages[place] = {**messages[place], "content": changed}
        await self._next(messages)

    async def whole(self, http: Request) -> dict[str, Any]:
        while True:
            assert self.current is not None
            answer = await self.current.whole(http)
            message = answer["choices"][0]["message"]
            if not self.left or not message.get("tool_calls"):
                return answer | {"memory": self.remembering.describe()}
            await self._answer_calls(message.get("content") or "", message["tool_calls"])

    async def stream(self) -> AsyncIterator[bytes]:
        """One stream for the client, whose rounds it does not see; the memory comes last."""
        first = True
        while True:
            assert self.current is not None
            said, called = "", list[dict[str, Any]]()
            async for chunk in self.current.stream():
                if not self.left and first:
                    yield chunk.removesuffix(DONE)
                    continue
                kept = b""
                for event in read_events(chunk):
                    choice = (event.get("choices") or [{}])[0]
                    delta = choice.get("delta", {})
                    said += delta.get("content") or ""
                    called += delta.get("tool_calls") or []
                    opens = delta.get("role") is not None
                    if not (called and self.left) and (first or not opens):
                        kept += write_event(event)
                yield kept
            if not called or not self.left:
                break
            await self._answer_calls(said, called)
            first = False
        yield write_event(self._head() | {"choices": [], "memory": self.remembering.describe()})
        yield DONE

    def _head(self) -> dict[str, Any]:
        assert self.current is not None
        return self.current.head

    async def _answer_calls(self, said: str, called: list[dict[str, Any]]) -> None:
        calls = [
            ToolCall(one["function"]["name"], one["function"]["arguments"], one["id"])
            for one in called
        ]
        turns = await asyncio.to_thread(self.remembering.answer_calls, said, calls)
        # `train` is ours, and no field of a message in OpenAI's form.
        more = [{key: value for key, value in turn.items() if key != "train"} for turn in turns]
        self.left -= 1
        await self._next([*self.messages, *more])

    async def _next(self, messages: list[dict[str, Any]]) -> None:
        """Begins a round; in the last one the model has no tools, and has to answer."""
        self.messages = messages
        changed: dict[str, Any] = {"messages": messages}
        if self.left:
            changed["tools"] = [tool.describe() for tool in self.remembering.tools]
        before = self.current
        self.current = await self.open(self.body.model_copy(update=changed))
        if before is not None:
            self.current.follow(before)


def list_parts(content: Any) -> list[dict[str, Any]]:
    """Of a message, whose content is a text or a list of parts; none where one is no text."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    fine = isinstance(parts, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts
    )
    return list(parts) if fine else []


def read_events(chunk: bytes) -> list[dict[str, Any]]:
    """The events of a piece of a stream, without its end."""
    return [
        json.loads(line[6:])
        for line in chunk.split(b"\n\n")
        if line.startswith(b"data: ") and line[6:] != b"[DONE]"
    ]
