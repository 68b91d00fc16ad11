"""POST /v1/responses, text in and text out: nothing is kept between two of them.
https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from fledge.engine.request import Completion
from fledge.serve.answering import EventStream
from fledge.serve.api_errors import ApiError
from fledge.serve.bodies import read_body
from fledge.serve.chat_completions import ChatAnswer, open_chat
from fledge.serve.service import Service
from fledge.serve.spoken import Part
from fledge.serve.wire import ChatBody, ResponsesBody


def make_router(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/responses")
    async def respond(request: Request) -> Response:
        body = await read_body(request, ResponsesBody)
        answer = ResponseAnswer(body, await open_chat(service, as_chat(body)))
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
        self.item = f"msg_{secrets.token_hex(12)}"

    async def whole(self, http: Request) -> dict[str, Any]:
        [completion] = await self.chat.exchange.complete(http)
        return self._describe(self.chat.open_row().end(completion, told=self.chat.told))

    async def stream(self) -> AsyncIterator[bytes]:
        number = 0

        def event(kind: str, **said: Any) -> bytes:
            nonlocal number
            data = json.dumps({"type": kind, "sequence_number": number, **said})
            number += 1
            return f"event: {kind}\ndata: {data}\n\n".encode()

        place = {"item_id": self.item, "output_index": 0, "content_index": 0}
        begun = self._describe(None)
        message = self._write_message([], "in_progress")
        yield b"".join(
            (
                event("response.created", response=begun),
                event("response.in_progress", response=begun),
                event("response.output_item.added", output_index=0, item=message),
                event("response.content_part.added", **place, part=write_text("", [])),
            )
        )
        row, parts = self.chat.open_row(), list[Part]()
        async for events in self.chat.exchange.events():
            chunks: list[bytes] = []
            for _, news in events:
                if isinstance(news, Completion):
                    part = row.end(news, told=self.chat.told)
                else:
                    part = row.hear(news, told=self.chat.told)
                parts.append(part)
                if part.text or part.tokens:
                    told = self._tell(part)
                    chunks.append(
                        event("response.output_text.delta", **place, delta=part.text, logprobs=told)
                    )
            yield b"".join(chunks)
        text = "".join(part.text for part in parts)
        tokens = [told for part in parts for told in part.tokens]
        whole = Part(text, tokens, parts[-1].finish)
        ended = self._describe(whole)
        content = write_text(text, self._tell(whole))
        kind = "response.completed" if ended["status"] == "completed" else "response.incomplete"
        yield b"".join(
            (
                event("response.output_text.done", **place, text=text, logprobs=self._tell(whole)),
                event("response.content_part.done", **place, part=content),
                event("response.output_item.done", output_index=0, item=ended["output"][0]),
                event(kind, response=ended),
            )
        )

    def _tell(self, part: Part) -> list[dict[str, Any]]:
        told = self.chat.tell(part)
        return [] if told is None else told["content"]

    def _write_message(self, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        return {
            "id": self.item,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _describe(self, part: Part | None) -> dict[str, Any]:
        """The response; None: before anything has been said."""
        cut = part is not None and part.finish == "length"
        status = "in_progress" if part is None else "incomplete" if cut else "completed"
        output: list[dict[str, Any]] = []
        if part is not None:
            content = write_text(part.text, self._tell(part))
            output = [self._write_message([content], status)]
        body = self.body
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": self.chat.served.name,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "store": False,
            "temperature": body.temperature,
            "text": body.text or {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None if part is None else self._count(),
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


def write_text(text: str, told: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": told}


def as_chat(body: ResponsesBody) -> ChatBody:
    """The chat completion that says the same. Raises ApiError for what it has no word for."""
    messages: list[dict[str, Any]] = []
    if body.instructions is not None:
        messages.append({"role": "system", "content": body.instructions})
    if isinstance(body.input, str):
        messages.append({"role": "user", "content": body.input})
    else:
        messages += [read_item(item, i) for i, item in enumerate(body.input)]
    if not messages:
        raise ApiError(400, "`input` is an empty list: give a message or more.", param="input")
    if body.tools:
        raise ApiError(
            400, "`tools` are answered at /v1/chat/completions, not here: ask there.",
            param="tools",
        )  # fmt: skip
    wants = "message.output_text.logprobs" in (body.include or ())
    fields = {
        "model": body.model,
        "messages": messages,
        "max_completion_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "stream": body.stream,
        "logprobs": wants or bool(body.top_logprobs),
        "top_logprobs": body.top_logprobs,
        "response_format": read_format(body.text),
    }
    return ChatBody(**{name: value for name, value in fields.items() if value is not None})


def read_item(item: dict[str, Any], place: int) -> dict[str, Any]:
    """A message, without what this server said of it itself."""
    kind = item.get("type", "message")
    if kind != "message":
        raise ApiError(
            400, f"input[{place}] is of the type {str(kind)[:40]!r}: only messages are read.",
            param=f"input[{place}]",
        )  # fmt: skip
    return {key: value for key, value in item.items() if key not in ("type", "id", "status")}


def read_format(text: dict[str, Any] | None) -> dict[str, Any] | None:
    """`text.format` as the `response_format` of a chat completion."""
    form = (text or {}).get("format")
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        return form
    schema = {key: value for key, value in form.items() if key != "type"}
    return {"type": "json_schema", "json_schema": schema}
