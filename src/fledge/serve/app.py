"""The application: every route, behind the guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fledge.errors import UserError
from fledge.serve import (
    chat_completions,
    completions,
    embeddings,
    models_list,
    page_routes,
    responses,
    tokenize,
)
from fledge.serve.answering import Gone
from fledge.serve.api_errors import ApiError
from fledge.serve.comparisons import Comparisons
from fledge.serve.guard import Guard
from fledge.serve.metrics import Metrics
from fledge.serve.served import ServedModels
from fledge.serve.service import Options, ServedMemory, Service

_PLAIN = {
    404: "there is nothing at {path}: the paths are listed in docs/serve.md.",
    405: "{method} is not answered at {path}.",
}


def build_app(
    served: ServedModels,
    options: Options,
    *,
    page: bool = True,
    memory: ServedMemory | None = None,
    comparisons: Comparisons | None = None,
) -> FastAPI:
    """page: with the chat page, and what it asks for under /fledge/. memory: of the chat.
    comparisons: what people are asked about there.
    """
    service = Service(served, options, memory, comparisons)
    # No page of FastAPI's own: it would load scripts from another host.
    app = FastAPI(
        title="fledge",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lambda _: run_engines(served),
    )
    modules = (chat_completions, completions, responses, embeddings, tokenize, models_list)
    for module in (*modules, page_routes) if page else modules:
        app.include_router(module.make_router(service))
    handle_errors(app)

    app.add_middleware(Guard, options=options)
    app.add_middleware(CountAnswers, metrics=service.metrics)  # what the guard refuses, too
    return app


class CountAnswers:
    """An ASGI layer that counts answers by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                self.metrics.responses[route, message["status"]] += 1
            await send(message)

        await self.app(scope, receive, send_counted)


@asynccontextmanager
async def run_engines(served: ServedModels) -> AsyncIterator[None]:
    for one in served.models.values():
        one.loop.start()
    yield
    for one in served.models.values():
        await one.loop.stop()


def handle_errors(app: FastAPI) -> None:
    """What is raised is answered in OpenAI's form; what nobody foresaw, by the guard."""

    def handle(kind: Any, answer: Callable[[Request, Any], Awaitable[Response]]) -> None:
        app.add_exception_handler(kind, answer)

    async def say_api_error(_: Request, error: ApiError) -> Response:
        return error.to_response()

    async def say_user_error(_: Request, error: UserError) -> Response:
        return ApiError(400, str(error)).to_response()

    async def say_http_error(request: Request, error: HTTPException) -> Response:
        plain = _PLAIN.get(error.status_code, str(error.detail))
        message = plain.format(path=request.url.path[:200], method=request.method)
        return ApiError(error.status_code, message, headers=error.headers).to_response()

    async def say_nothing(_: Request, __: Gone) -> Response:
        return Response(status_code=499)  # nginx's word for a client that has gone; nobody reads it

    handle(ApiError, say_api_error)
    handle(UserError, say_user_error)
    handle(HTTPException, say_http_error)
    handle(Gone, say_nothing)
