"""POST /v1/chat/completions. https://platform.openai.com/docs/api-reference/chat"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from fledge.serve.answering import EventStream
from fledge.serve.bodies import read_body
from fledge.serve.chat_answer import open_chat
from fledge.serve.remembering import remember
from fledge.serve.service import Service
from fledge.serve.wire import ChatBody


def make_router(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def complete_chat(request: Request) -> Response:
        body = await read_body(request, ChatBody)
        if service.memory is not None and body.memory is not False:
            answer = await remember(service, service.memory, body)
        else:
            answer = await open_chat(service, body)
        if body.stream:
            return EventStream(answer.stream(), answer.cancel, service.options.timeout_s)
        return JSONResponse(await answer.whole(request))

    return router
