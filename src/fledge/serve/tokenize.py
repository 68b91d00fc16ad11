"""POST /tokenize and /detokenize, in vLLM's form: text to token ids and back.
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from fledge.errors import UserError
from fledge.serve.api_errors import ApiError
from fledge.serve.bodies import read_body
from fledge.serve.conversation import encode_chat, read_messages
from fledge.serve.encoding import check_messages, check_size, encode_text
from fledge.serve.served import Served
from fledge.serve.service import Service
from fledge.serve.spoken import spell
from fledge.serve.wire import DetokenizeBody, TokenizeBody


def make_router(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        body = await read_body(request, TokenizeBody)
        served = service.served.find(body.model)
        ids = await asyncio.to_thread(encode, served, body)
        words = [spell(served.words[token]) for token in ids]
        said = {
            "count": len(ids),
            "max_model_len": served.positions,
            "tokens": ids,
            "token_strs": words,
        }
        return JSONResponse(said)

    @router.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        body = await read_body(request, DetokenizeBody)
        served = service.served.find(body.model)
        try:
            # In a thread: a million ids take a while, and others wait for the event loop.
            text = await asyncio.to_thread(served.tokenizer.decode, body.tokens)
        except (ValueError, OverflowError) as error:
            raise ApiError(400, f"{error}.", param="tokens") from None
        return JSONResponse({"prompt": text})

    return router


def encode(served: Served, body: TokenizeBody) -> list[int]:
    """Raises ApiError."""
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "give either `prompt` or `messages`.", param="prompt")
    if body.prompt is None:
        messages = read_messages(body.messages or [])
        check_messages(served, messages, body.tools)
        return encode_chat(served.tokenizer, messages, body.tools, reply=body.add_generation_prompt)
    if body.add_special_tokens:
        return encode_text(served, body.prompt)
    check_size(served, len(body.prompt), "prompt")
    try:
        return served.tokenizer.encode(body.prompt)
    except UserError as error:
        raise ApiError(400, str(error), param="prompt") from None
