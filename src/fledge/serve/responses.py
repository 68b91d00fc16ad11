"""POST /v1/responses: text and calls of functions; nothing is kept between two of them.
https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from fledge.engine.request import Completion
from fledge.serve.answering import EventStream
from fledge.serve.bodies import read_body
from fledge.serve.chat_answer import ChatAnswer, open_chat
from fledge.serve.response_input import as_chat, own_names, read_turns
from fledge.serve.response_output import Event, ResponseOutput
from fledge.serve.service import Service
from fledge.serve.spoken import Part, Told
from fledge.serve.wire import ResponsesBody


def make_router(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/responses")
    async def respond(request: Request) -> Response:
        body = await read_body(request, ResponsesBody)
        turns = read_turns(body)
        with own_names(turns):
            answer = ResponseAnswer(body, await open_chat(service, as_chat(body, turns)))
        if body.stream:
            over = answer.chat.exchange.cancel
            return EventStream(answer.stream(), over, service.options.timeout_s)
        return JSONResponse(await answer.whole(request))

    return router


class ResponseAnswer:
    """A chat completion, told in the words of this endpoint."""

    def __init__(self, body: ResponsesBody, chat: ChatAnswer) -> None:
        self.body, self.chat = body, chat
        self.id, self.created = f"resp_{secrets.token_hex(12)}", int(time.time())
        self.row, self.reader = chat.open_row(), chat.asked.read_calls()
        self.output = ResponseOutput(self._tell)

    async def whole(self, http: Request) -> dict[str, Any]:
        [completion] = await self.chat.exchange.complete(http)
        part = self.row.end(completion, told=self.chat.told)
        self._hear(part)
        return self._describe(name_status(part))

    async def stream(self) -> AsyncIterator[bytes]:
        number = 0

        def write(events: Sequence[Event]) -> bytes:
            nonlocal number
            lines: list[str] = []
            for kind, said in events:
                data = json.dumps({"type": kind, "sequence_number": number, **said})
                lines.append(f"event: {kind}\ndata: {data}\n\n")
                number += 1
            return "".join(lines).encode()

        begun = {"response": self._describe("in_progress")}
        yield write([("response.created", begun), ("response.in_progress", begun)])
        status = "completed"
        async for events in self.chat.exchange.events():
            told: list[Event] = []
            for _, news in events:
                if isinstance(news, Completion):
                    part = self.row.end(news, told=self.chat.told)
                    status = name_status(part)
                else:
                    part = self.row.hear(news, told=self.chat.told)
                told += self._hear(part)
            yield write(told)
        yield write([(f"response.{status}", {"response": self._describe(status)})])

    def _hear(self, part: Part) -> list[Event]:
        text, calls = self.chat.read_part(part, self.reader)
        events = self.output.hear(text, calls, part.tokens)
        return events if part.finish is None else events + self.output.end(name_status(part))

    def _tell(self, tokens: Sequence[Told]) -> list[dict[str, Any]]:
        told = self.chat.tell(tokens)
        return [] if told is None else told["content"]

    def _describe(self, status: str) -> dict[str, Any]:
        """The response as far as it has come."""
        body, ended = self.body, status != "in_progress"
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": cut,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": self.chat.served.name,
            "output": self.output.items if ended else [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": body.temperature,
            "text": body.text or {"format": {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": self._count() if ended else None,
            "user": None,
            "metadata": {},
        }

    def _count(self) -> dict[str, Any]:
        usage = self.chat.count()
        return {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        }


def name_status(part: Part) -> str:
    """Of an answer that has ended so."""
    return "incomplete" if part.finish == "length" else "completed"
