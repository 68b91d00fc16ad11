"""POST /v1/embeddings: by an encoder, as `fledge.load_encoder(...).embed` has it; else the mean of
the last layer's hidden states over a text's tokens, as `fledge.load(...).embed` has it. A model
that was trained to go on with texts was not trained to put like ones side by side: a sentence
encoder does that better.
https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import asyncio
import base64
import struct
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from fledge.errors import UserError
from fledge.serve.answering import listen, measure
from fledge.serve.api_errors import ApiError
from fledge.serve.bodies import read_body
from fledge.serve.encoders import ServedEncoder
from fledge.serve.encoding import check_size, list_inputs
from fledge.serve.measuring import embed
from fledge.serve.served import Served
from fledge.serve.service import Service
from fledge.serve.wire import EmbeddingsBody

INPUTS = 2048  # of one request, as OpenAI takes


def make_router(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def answer_embeddings(request: Request) -> Response:
        body = await read_body(request, EmbeddingsBody)
        served = service.served.find_embedder(body.model)
        if body.dimensions is not None:
            raise ApiError(
                400, "`dimensions` was given: an embedding of these models is not made to be cut. "
                "Leave it out.", param="dimensions",
            )  # fmt: skip
        if isinstance(served, ServedEncoder):
            framed = await asyncio.to_thread(frame_all, served, body)
            work = served.embed(framed)
            vectors = await listen(request.receive, work, service.options.timeout_s)
            tokens = sum(map(len, framed))
        else:
            rows = await asyncio.to_thread(open_all, served, body)
            # One at a time: between two the engine goes on with the answers of others.
            functions = [partial(embed, served, *row) for row in rows]
            vectors = await measure(request, service, served, functions)
            tokens = sum(own for _, own in rows)
        service.metrics.prompt_tokens[served.name] += tokens
        data = [
            {"object": "embedding", "index": i, "embedding": spell(vector, body.encoding_format)}
            for i, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": data, "model": served.name, "usage": usage})

    return router


def open_all(served: Served, body: EmbeddingsBody) -> list[tuple[list[int], int]]:
    """Each input as `open_text` gives it. Raises ApiError."""
    return [open_text(served, each) for each in list_inputs(body.input, served, "input", INPUTS)]


def frame_all(served: ServedEncoder, body: EmbeddingsBody) -> list[list[int]]:
    """Each input as the encoder reads it. Raises ApiError."""
    given = list_inputs(body.input, served, "input", INPUTS)
    for each in given:
        if isinstance(each, str):
            check_size(served, len(each), "input")
    return [served.frame(each) for each in given]


def open_text(served: Served, given: str | list[int]) -> tuple[list[int], int]:
    """As a document is opened, and how many of its tokens are the text's. Raises ApiError."""
    if isinstance(given, str):
        check_size(served, len(given), "input")
    try:
        ids = served.tokenizer.encode(given) if isinstance(given, str) else given
        row = [*served.tokenizer.opening, *ids]
    except UserError as error:
        raise ApiError(400, str(error), param="input") from None
    if not ids:
        raise ApiError(400, "`input` has an empty text: give some.", param="input")
    if len(row) > served.network.config.context:
        raise ApiError(
            400,
            f"a text of {len(row):,} tokens was given, and the model's context is "
            f"{served.network.config.context:,}: shorten it, or cut it in pieces.",
            param="input",
            code="context_length_exceeded",
        )
    return row, len(ids)


def spell(vector: list[float], form: str) -> Any:
    """base64: of float32, little-endian."""
    if form == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
