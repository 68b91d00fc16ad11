"""What the page asks for where answers are compared: the next pair, and to keep what was said."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from fledge.engine.request import Completion
from fledge.engine.request import Request as EngineRequest
from fledge.serve.answering import Exchange
from fledge.serve.api_errors import ApiError
from fledge.serve.bodies import read_body
from fledge.serve.chat_request import prepare_chat
from fledge.serve.comparison_files import Candidate, make_candidate
from fledge.serve.comparisons import CompareBody, ComparedBody, Comparisons
from fledge.serve.served import Served
from fledge.serve.service import Service
from fledge.serve.spoken import Spoken
from fledge.serve.votes import Messages
from fledge.serve.wire import ChatBody

AHEAD = 8  # pairs that wait to be asked about before the served model writes more
MOST_TOKENS = 256  # of an answer that is written to be compared


def add_comparisons(router: APIRouter, service: Service) -> None:
    def find() -> Comparisons:
        if service.comparisons is None:
            raise ApiError(
                403,
                "there is nothing to compare: start the server with compare=FILE.jsonl and "
                "votes=votes.jsonl.",
                code="not_kept",
            )
        return service.comparisons

    @router.post("/fledge/compare")
    async def ask_next(request: Request) -> Response:
        body, kept = await read_body(request, CompareBody), find()
        async with kept.writing:
            await write_ahead(request, service, kept, body.model)
        pair = await run_in_threadpool(kept.choose, body.choice)
        return JSONResponse({"pair": None if pair is None else show_pair(pair), **kept.tell()})

    @router.post("/fledge/compared")
    async def keep_answer(request: Request) -> Response:
        body, kept = await read_body(request, ComparedBody), find()
        await run_in_threadpool(kept.answer, body)
        return JSONResponse({"kept": body.preferred is not None, **kept.tell()})


def show_pair(pair: Candidate) -> dict[str, Any]:
    """Without who wrote which."""
    return {"name": pair.key, "messages": pair.prompt, "answers": list(pair.answers)}


async def write_ahead(
    request: Request, service: Service, kept: Comparisons, model: str | None
) -> None:
    """Two answers of the served model to each of the next prompts, where few pairs are left. What
    is written is kept at once: it is read again by a server that is started anew. Raises ApiError.
    """
    while kept.prompts and len(kept.open) < AHEAD:
        served = service.served.find(model)
        room = max(1, (served.loop.slots + served.loop.queue_rows) // 2)
        prompts = kept.prompts[: min(AHEAD, room)]
        seed = secrets.randbits(31)
        asked = await asyncio.to_thread(prepare, prompts, seed, served)
        requests = [one for pair in asked if pair is not None for one in pair]
        said: Iterator[Completion] = iter(())
        if requests:
            exchange = Exchange(service, served, requests, streams=False)
            said = iter(await exchange.complete(request))
        for prompt, pair in zip(prompts, asked, strict=True):
            kept.prompts.remove(prompt)
            if pair is None:
                kept.unanswerable += 1
                continue
            first, second = (Spoken(served.words).end(next(said), told=False).text for _ in pair)
            if first == second or not (first and second):
                continue  # nothing to choose
            origin = {"models": (served.name, served.name), "seeds": (seed, seed + 1)}
            made = make_candidate(prompt, first, second, **origin)
            await run_in_threadpool(kept.asked.add, made.row)
            await run_in_threadpool(kept.add, made)


def prepare(
    prompts: list[Messages], seed: int, served: Served
) -> list[tuple[EngineRequest, EngineRequest] | None]:
    """Two requests a prompt; None for one that the model has no room for."""
    made: list[tuple[EngineRequest, EngineRequest] | None] = []
    for prompt in prompts:
        try:
            first, second = (
                prepare_chat(make_body(prompt, each), served).requests[0]
                for each in (seed, seed + 1)
            )
            made.append((first, second))
        except ApiError:
            made.append(None)
    return made


def make_body(messages: Messages, seed: int) -> ChatBody:
    given = {"messages": messages, "max_tokens": MOST_TOKENS, "temperature": 1.0, "seed": seed}
    return ChatBody.model_validate(given)
