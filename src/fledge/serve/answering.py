"""Waits for what the engine says, as long as somebody listens: a client that has gone, or a time
that is up, frees the slots.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fledge.engine.request import Completion, Request
from fledge.serve.api_errors import ApiError
from fledge.serve.engine_loop import BROKEN, GONE, EngineGone, Event, QueueFull, Ticket
from fledge.serve.served import Served
from fledge.serve.service import Service

Result = TypeVar("Result")


class Gone(Exception):
    """The client has closed its connection: there is nobody to answer."""


class Exchange:
    """One client's requests to one model, from the queue to the last token."""

    def __init__(
        self,
        service: Service,
        served: Served,
        requests: Sequence[Request],
        *,
        streams: bool,
        told: bool = False,
    ) -> None:
        """Raises ApiError where as many requests wait as may, or the engine is gone."""
        self.service, self.served, self.requests = service, served, requests
        self.began = time.monotonic()
        self.completions: dict[int, Completion] = {}
        try:
            self.ticket: Ticket = served.loop.submit(requests, streams=streams, told=told)
        except (QueueFull, EngineGone) as error:
            raise refuse(service, served, error) from None
        prompts = {id(request.prompt): len(request.prompt) for request in requests}
        self.prompt_tokens = sum(prompts.values())
        service.metrics.prompt_tokens[served.name] += self.prompt_tokens

    @property
    def said_tokens(self) -> int:
        return sum(len(one.tokens) for one in self.completions.values())

    async def events(self) -> AsyncIterator[list[Event]]:
        """Raises ApiError for a request that came to an error."""
        metrics, name, first = self.service.metrics, self.served.name, True
        async for events in self.ticket:
            if first:
                metrics.first_token.observe(name, time.monotonic() - self.began)
                first = False
            for index, news in events:
                if isinstance(news, Completion):
                    self.completions[index] = news
                    metrics.said_tokens[name] += len(news.tokens)
                    metrics.ended[name, news.ended] += 1
                    if news.error is not None:
                        status = {BROKEN: 500, GONE: 503}.get(news.error, 400)
                        # as the field is called in every body
                        message = news.error.replace("min_new_tokens", "min_tokens")
                        raise ApiError(status, message)
            yield events
        metrics.whole.observe(name, time.monotonic() - self.began)

    async def complete(self, http: HttpRequest) -> list[Completion]:
        """All of them, in their order. Raises ApiError, and Gone."""

        async def wait() -> None:
            async for _ in self.events():
                pass

        try:
            await listen(http.receive, wait(), self.service.options.timeout_s)
        finally:
            self.cancel()
        return [self.completions[i] for i in range(len(self.requests))]

    def cancel(self) -> None:
        self.served.loop.cancel(self.ticket)


async def measure(
    http: HttpRequest,
    service: Service,
    served: Served,
    functions: Sequence[Callable[[], Result]],
) -> list[Result]:
    """What else needs the network, as `EngineLoop.call` has it. Raises ApiError where as many
    requests wait as may, or the time is up, and Gone.
    """
    try:
        return await listen(http.receive, served.loop.call(functions), service.options.timeout_s)
    except (QueueFull, EngineGone) as error:
        raise refuse(service, served, error) from None


def refuse(service: Service, served: Served, error: QueueFull | EngineGone) -> ApiError:
    if isinstance(error, EngineGone):
        return ApiError(503, f"{served.name}: {GONE}", code="engine_gone")
    service.metrics.refused[served.name] += 1
    return ApiError(
        429,
        f"{served.loop.queue_rows} requests wait already: try again in a second.",
        code="queue_full",
        headers={"retry-after": "1"},
    )


async def listen(receive: Receive, work: Awaitable[Result], timeout_s: float) -> Result:
    """What the work comes to. Raises Gone if the client goes first, ApiError when the time is
    up."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(watch())
    try:
        await asyncio.wait(
            (working, watching), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if working.done():
            return working.result()
        if watching.done():
            raise Gone
        raise ApiError(
            504,
            f"the answer took longer than {timeout_s:g} s: ask for fewer tokens, or start the "
            "server with a longer timeout.",
            code="timeout",
        )
    finally:
        for task in (working, watching):
            task.cancel()


class EventStream(Response):
    """Server-sent events. https://html.spec.whatwg.org/multipage/server-sent-events.html

    chunks: each the data of events, complete with their line breaks. over: called at the end,
    however it came.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], over: Callable[[], Any], timeout_s: float
    ) -> None:
        self.chunks, self.over, self.timeout_s = chunks, over, timeout_s
        self.status_code, self.background = 200, None
        self.raw_headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),  # a proxy that buffers would hold the tokens back
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def speak() -> None:
            async for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                await listen(receive, speak(), self.timeout_s)
            except ApiError as error:
                self.over()
                line = b"data: " + error.to_json() + b"\n\n"
                await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (Gone, OSError):
            pass  # nobody is left to answer
        finally:
            self.over()
