"""POST /v1/chat/completions. https://platform.openai.com/docs/api-reference/chat"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from fledge.engine.request import Completion
from fledge.serve.answering import EventStream, Exchange
from fledge.serve.api_errors import ApiError
from fledge.serve.asking import make_requests
from fledge.serve.bodies import read_body
from fledge.serve.conversation import encode_chat
from fledge.serve.served import Served
from fledge.serve.service import Service
from fledge.serve.spoken import Part, Spoken, list_chat_logprobs
from fledge.serve.wire import ChatBody

DONE = b"data: [DONE]\n\n"


def make_router(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def complete_chat(request: Request) -> Response:
        body = await read_body(request, ChatBody)
        answer = ChatAnswer(service, body)
        if body.stream:
            return EventStream(answer.stream(), answer.exchange.cancel, service.options.timeout_s)
        return JSONResponse(await answer.whole(request))

    return router


class ChatAnswer:
    """One answer under way, in one of OpenAI's two forms."""

    def __init__(self, service: Service, body: ChatBody) -> None:
        """Raises ApiError for what cannot be answered."""
        self.body, self.served = body, service.served.find(body.model)
        if body.top_logprobs and not body.logprobs:
            raise ApiError(
                400, "`top_logprobs` was given without `logprobs`: give `logprobs: true`.",
                param="top_logprobs",
            )  # fmt: skip
        self.begin = read_begin(body, self.served)
        prompt = encode_chat(self.served.tokenizer, body.messages, body.tools) + self.begin
        limit = body.max_completion_tokens or body.max_tokens
        requests = make_requests(
            body, self.served, [prompt], count=body.n or 1, max_tokens=limit,
            alternatives=body.top_logprobs or 0,
        )  # fmt: skip
        self.told = bool(body.logprobs)
        self.exchange = Exchange(
            service, self.served, requests, streams=bool(body.stream), told=self.told
        )
        self.head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk" if body.stream else "chat.completion",
            "created": int(time.time()),
            "model": self.served.name,
            "system_fingerprint": None,
        }

    def open_row(self) -> Spoken:
        return Spoken(self.served.words, self.exchange.requests[0].stop_strings, self.begin)

    async def whole(self, http: Request) -> dict[str, Any]:
        completions = await self.exchange.complete(http)
        choices = [self._choose(i, one) for i, one in enumerate(completions)]
        return self.head | {"choices": choices, "usage": self.count()}

    def _choose(self, index: int, completion: Completion) -> dict[str, Any]:
        part = self.open_row().end(completion, told=self.told)
        message = {"role": "assistant", "content": part.text, "refusal": None}
        return {
            "index": index,
            "message": message,
            "logprobs": self.tell(part),
            "finish_reason": part.finish,
        }

    async def stream(self) -> AsyncIterator[bytes]:
        count = len(self.exchange.requests)
        rows = [self.open_row() for _ in range(count)]
        opening = {"role": "assistant", "content": ""}
        yield b"".join(self._chunk(i, opening, None, None) for i in range(count))
        async for events in self.exchange.events():
            chunks: list[bytes] = []
            for index, news in events:
                if isinstance(news, Completion):
                    part = rows[index].end(news, told=self.told)
                else:
                    part = rows[index].hear(news, told=self.told)
                if part.text or part.tokens:
                    chunks.append(self._chunk(index, {"content": part.text}, self.tell(part), None))
                if part.finish is not None:
                    chunks.append(self._chunk(index, {}, None, part.finish))
            yield b"".join(chunks)
        options = self.body.stream_options
        if options is not None and options.include_usage:
            yield write_event(self.head | {"choices": [], "usage": self.count()})
        yield DONE

    def _chunk(self, index: int, delta: dict[str, Any], told: Any, finish: str | None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": told, "finish_reason": finish}
        return write_event(self.head | {"choices": [choice]})

    def tell(self, part: Part) -> dict[str, Any] | None:
        if not self.told:
            return None
        content = list_chat_logprobs(
            part.tokens, self.served.words, self.served.tokenizer.ends,
            ids=bool(self.body.return_token_ids),
        )  # fmt: skip
        return {"content": content, "refusal": None}

    def count(self) -> dict[str, int]:
        return count_usage(self.exchange)


def write_event(said: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"


def read_begin(body: ChatBody, served: Served) -> list[int]:
    """Raises ApiError for tokens that an answer cannot begin with."""
    begin = list(body.continue_tokens or ())
    if any(not 0 <= token < served.vocab_size for token in begin):
        raise ApiError(
            400, f"`continue_tokens` has a token beyond the {served.vocab_size:,} of the model.",
            param="continue_tokens",
        )  # fmt: skip
    return begin


def count_usage(exchange: Exchange) -> dict[str, int]:
    said = exchange.said_tokens
    return {
        "prompt_tokens": exchange.prompt_tokens,
        "completion_tokens": said,
        "total_tokens": exchange.prompt_tokens + said,
    }
