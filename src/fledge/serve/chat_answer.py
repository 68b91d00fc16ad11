"""One answer to a chat completion, whole or as it comes, in OpenAI's two forms.
https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request

from fledge.engine.request import Completion
from fledge.serve.answering import Exchange
from fledge.serve.chat_request import ChatRequest, prepare_chat
from fledge.serve.served import Served
from fledge.serve.service import Service
from fledge.serve.spoken import Part, Spoken, Told, list_chat_logprobs
from fledge.serve.wire import ChatBody, Sampling
from fledge.text.tool_calls import ToolCall, ToolCallReader

DONE = b"data: [DONE]\n\n"
USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")


async def open_chat(service: Service, body: ChatBody) -> ChatAnswer:
    """Raises ApiError for what cannot be answered."""
    served = service.served.find(body.model)
    # In a thread: the event loop goes on with the answers of others.
    asked = await asyncio.to_thread(prepare_chat, body, served)
    return ChatAnswer(service, served, body, asked)


class ChatAnswer:
    """One answer under way, in one of OpenAI's two forms."""

    def __init__(
        self, service: Service, served: Served, body: ChatBody, asked: ChatRequest
    ) -> None:
        """Raises ApiError where as many requests wait as may."""
        self.body, self.served, self.asked = body, served, asked
        self.told = bool(body.logprobs)
        self.earlier = dict.fromkeys(USAGE, 0)  # of the rounds before this one
        self.exchange = Exchange(
            service, served, asked.requests, streams=bool(body.stream), told=self.told
        )
        self.head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk" if body.stream else "chat.completion",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": None,
        }

    def follow(self, before: ChatAnswer) -> None:
        """Goes on where a round of calls has ended: one answer has one id, and counts all its
        tokens.
        """
        self.head, self.earlier = before.head, before.count()

    def cancel(self) -> None:
        self.exchange.cancel()

    def open_row(self) -> Spoken:
        return Spoken(self.served.words, self.asked.requests[0].stop_strings, self.asked.begin)

    async def whole(self, http: Request) -> dict[str, Any]:
        completions = await self.exchange.complete(http)
        choices = [self._choose(i, one) for i, one in enumerate(completions)]
        return self.head | {"choices": choices, "usage": self.count()}

    def _choose(self, index: int, completion: Completion) -> dict[str, Any]:
        part = self.open_row().end(completion, told=self.told)
        content, calls = self.read_part(part, self.asked.read_calls())
        silent = self.asked.form is not None and not content
        message = {"role": "assistant", "content": None if silent else content, "refusal": None}
        if calls:
            message["tool_calls"] = [call.to_dict() for call in calls]
        return {
            "index": index,
            "message": message,
            "logprobs": self.tell(part.tokens),
            "finish_reason": "tool_calls" if calls else part.finish,
        }

    async def stream(self) -> AsyncIterator[bytes]:
        count = len(self.asked.requests)
        rows = [self.open_row() for _ in range(count)]
        readers = [self.asked.read_calls() for _ in range(count)]
        opening = {"role": "assistant", "content": ""}
        yield b"".join(self._chunk(i, opening, None, None) for i in range(count))
        async for events in self.exchange.events():
            chunks: list[bytes] = []
            for index, news in events:
                if isinstance(news, Completion):
                    part = rows[index].end(news, told=self.told)
                else:
                    part = rows[index].hear(news, told=self.told)
                chunks += self._write(index, part, readers[index])
            yield b"".join(chunks)
        if open_usage(self.body):
            yield write_event(self.head | {"choices": [], "usage": self.count()})
        yield DONE

    def _write(self, index: int, part: Part, reader: ToolCallReader | None) -> list[bytes]:
        """The chunks of one part of one choice."""
        chunks: list[bytes] = []
        first = 0 if reader is None else reader.count
        text, calls = self.read_part(part, reader)
        if text or part.tokens:
            chunks.append(self._chunk(index, {"content": text}, self.tell(part.tokens), None))
        if calls:
            said = [{"index": first + i, **call.to_dict()} for i, call in enumerate(calls)]
            chunks.append(self._chunk(index, {"tool_calls": said}, None, None))
        if part.finish is not None:
            called = reader is not None and reader.count
            finish = "tool_calls" if called else part.finish
            chunks.append(self._chunk(index, {}, None, finish))
        return chunks

    def read_part(self, part: Part, reader: ToolCallReader | None) -> tuple[str, list[ToolCall]]:
        """The text and the complete calls that come with it. reader: of this choice; None where no
        tool may be called.
        """
        if reader is None:
            return part.text, []
        text, calls = reader.take(part.text)
        if part.finish is not None:
            rest, more = reader.end()
            text, calls = text + rest, calls + more
        return text, calls

    def _chunk(self, index: int, delta: dict[str, Any], told: Any, finish: str | None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": told, "finish_reason": finish}
        return write_event(self.head | {"choices": [choice]} | open_usage(self.body))

    def tell(self, tokens: Sequence[Told]) -> dict[str, Any] | None:
        if not self.told:
            return None
        content = list_chat_logprobs(
            tokens, self.served.words, self.served.tokenizer.ends,
            ids=bool(self.body.return_token_ids),
        )  # fmt: skip
        return {"content": content, "refusal": None}

    def count(self) -> dict[str, int]:
        """Every round was read and said, so each one's prompt counts."""
        own = count_usage(self.exchange)
        return {name: own[name] + self.earlier[name] for name in USAGE}


def write_event(said: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"


def open_usage(body: Sampling) -> dict[str, None]:
    """What every event says of usage before the last one does, where it was asked for."""
    asked = body.stream_options is not None and body.stream_options.include_usage
    return {"usage": None} if asked else {}


def count_usage(exchange: Exchange) -> dict[str, int]:
    said = exchange.said_tokens
    return {
        "prompt_tokens": exchange.prompt_tokens,
        "completion_tokens": said,
        "total_tokens": exchange.prompt_tokens + said,
    }
