"""POST /v1/completions: running text. https://platform.openai.com/docs/api-reference/completions"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from fledge.engine.best_of import joint_log_probability
from fledge.engine.request import Completion
from fledge.serve.answering import EventStream, Exchange, measure
from fledge.serve.api_errors import ApiError
from fledge.serve.asking import check_length, make_requests
from fledge.serve.bodies import read_body
from fledge.serve.chat_answer import DONE, open_usage, write_event
from fledge.serve.chat_request import constrain
from fledge.serve.encoding import encode_text, list_inputs
from fledge.serve.measuring import measure_prompt
from fledge.serve.served import Served
from fledge.serve.service import Service
from fledge.serve.spoken import Part, Spoken, Told, bound, spell
from fledge.serve.wire import CompletionBody

PROMPTS = 256  # of one request


def make_router(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/completions")
    async def complete_text(request: Request) -> Response:
        body = await read_body(request, CompletionBody)
        served = service.served.find(body.model)
        # In a thread: the event loop goes on with the answers of others.
        answer = await asyncio.to_thread(TextAnswer, service, served, body)
        measured = await answer.measure_prompts(request)
        if not body.stream:
            return JSONResponse(await answer.whole(request, measured))
        exchange = answer.ask()
        chunks = answer.stream(exchange, measured)
        return EventStream(chunks, exchange.cancel, service.options.timeout_s)

    return router


class TextAnswer:
    """One answer under way, in one of OpenAI's two forms."""

    def __init__(self, service: Service, served: Served, body: CompletionBody) -> None:
        """Raises ApiError for what cannot be answered."""
        self.service, self.served, self.body = service, served, body
        self.n, self.drawn = body.n or 1, max(body.best_of or 1, body.n or 1)
        self.told = body.logprobs is not None
        refuse_contradictions(body)
        self.prompts = [
            encode_text(self.served, each)
            for each in list_inputs(body.prompt, self.served, "prompt", PROMPTS)
        ]
        for prompt in self.prompts:
            check_length(prompt, self.served)
        self.constraint = constrain(body, served)
        self.max_tokens = 16 if body.max_tokens is None else body.max_tokens  # OpenAI's default
        self.head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.served.name,
        }

    async def measure_prompts(self, http: Request) -> list[list[Told]]:
        """Of each prompt, where it is echoed with log-probabilities.

        Ids that do not begin as the model's texts do are measured behind what opens one: clients
        that make the tokens themselves, as lm-evaluation-harness does, leave it out.
        """
        if not (self.body.echo and self.told):
            return [[] for _ in self.prompts]
        best, prefix = self.body.logprobs or 0, list(self.served.tokenizer.prefix)
        opened = [
            prompt if prompt[: len(prefix)] == prefix else [*prefix, *prompt]
            for prompt in self.prompts
        ]
        functions = [partial(measure_prompt, self.served, each, best) for each in opened]
        measured = await measure(http, self.service, self.served, functions)
        return [
            told[max(0, len(told) - len(prompt)) :]
            for told, prompt in zip(measured, self.prompts, strict=True)
        ]

    def ask(self) -> Exchange:
        requests = make_requests(
            self.body, self.served, self.prompts, count=self.drawn, max_tokens=self.max_tokens,
            alternatives=self.body.logprobs or 0, constraint=self.constraint,
        )  # fmt: skip
        streams = bool(self.body.stream)
        return Exchange(self.service, self.served, requests, streams=streams, told=self.told)

    async def whole(self, http: Request, measured: Sequence[list[Told]]) -> dict[str, Any]:
        if self.max_tokens == 0:
            choices = [
                self._choose(i, self._echo(i, told), "length") for i, told in enumerate(measured)
            ]
            count = sum(map(len, self.prompts))
            return self.head | {"choices": choices, "usage": count_usage(count, 0)}
        exchange = self.ask()
        completions = await exchange.complete(http)
        choices: list[dict[str, Any]] = []
        for place, told in enumerate(measured):
            drawn = completions[place * self.drawn : (place + 1) * self.drawn]
            if self.drawn > self.n:
                drawn = sorted(drawn, key=joint_log_probability, reverse=True)[: self.n]
            for one in drawn:
                spoken = self._open(exchange)
                choices.append(
                    self._choose(len(choices), self._end(place, told, spoken, one), one.ended)
                )
        usage = count_usage(exchange.prompt_tokens, exchange.said_tokens)
        return self.head | {"choices": choices, "usage": usage}

    async def stream(
        self, exchange: Exchange, measured: Sequence[list[Told]]
    ) -> AsyncIterator[bytes]:
        rows = [self._open(exchange) for _ in exchange.requests]
        offsets = [0] * len(rows)
        if self.body.echo:
            parts = [self._echo(i // self.n, measured[i // self.n]) for i in range(len(rows))]
            yield b"".join(self._chunk(i, part, offsets) for i, part in enumerate(parts))
        async for events in exchange.events():
            chunks: list[bytes] = []
            for index, news in events:
                if isinstance(news, Completion):
                    part = rows[index].end(news, told=self.told)
                else:
                    part = rows[index].hear(news, told=self.told)
                if part.text or part.tokens or part.finish is not None:
                    chunks.append(self._chunk(index, part, offsets))
            yield b"".join(chunks)
        if open_usage(self.body):
            usage = count_usage(exchange.prompt_tokens, exchange.said_tokens)
            yield write_event(self.head | {"choices": [], "usage": usage})
        yield DONE

    def _open(self, exchange: Exchange) -> Spoken:
        return Spoken(self.served.words, exchange.requests[0].stop_strings)

    def _echo(self, place: int, told: list[Told]) -> Part:
        """The prompt as a part of the answer. Nothing foretells its first token, unless it stands
        behind what opens a text.
        """
        prompt = self.prompts[place]
        if not self.body.echo:
            return Part("", [])
        alone = self.told and len(told) < len(prompt)
        first = [Told(prompt[0], float("nan"), [])] if alone else []
        return Part(
            self.served.tokenizer.decode_bytes(prompt).decode(errors="replace"), first + told
        )

    def _end(self, place: int, told: list[Told], spoken: Spoken, one: Completion) -> Part:
        echo, part = self._echo(place, told), spoken.end(one, told=self.told)
        return Part(echo.text + part.text, echo.tokens + part.tokens, part.finish)

    def _chunk(self, index: int, part: Part, offsets: list[int]) -> bytes:
        choice = self._choose(index, part, part.finish, offsets[index])
        offsets[index] += len(part.text)
        return write_event(self.head | {"choices": [choice]} | open_usage(self.body))

    def _choose(self, index: int, part: Part, ended: str | None, offset: int = 0) -> dict[str, Any]:
        finish = part.finish if part.finish is not None else ended
        return {
            "index": index,
            "text": part.text,
            "logprobs": self._tell(part, offset),
            "finish_reason": finish,
        }

    def _tell(self, part: Part, offset: int) -> dict[str, Any] | None:
        if not self.told:
            return None
        # An echo shows the prompt as it is, ends of turns in it too, and clients count its tokens.
        every = bool(self.body.echo)
        ids = bool(self.body.return_token_ids)
        return list_logprobs(part.tokens, self.served, offset, ids=ids, every=every)


def list_logprobs(
    tokens: Sequence[Told], served: Served, offset: int, *, ids: bool, every: bool = False
) -> dict[str, Any]:
    """`logprobs` of a completion: four lists, side by side. offset: of the first token in the text,
    in characters. every: stop tokens too, which else are shown only with their ids.
    """
    words, stop = served.words, served.tokenizer.ends
    shown = [told for told in tokens if ids or every or told.token not in stop]
    said: dict[str, Any] = {
        "tokens": [],
        "token_logprobs": [],
        "top_logprobs": [],
        "text_offset": [],
    }
    length = 0  # bytes before this token
    text = b"".join(words[told.token] for told in shown)
    for told in shown:
        unknown = told.raw_logp != told.raw_logp
        said["tokens"].append(spell(words[told.token]))
        said["token_logprobs"].append(None if unknown else bound(told.raw_logp))
        best = {spell(words[token]): bound(logp) for token, logp in told.alternatives}
        said["top_logprobs"].append(None if unknown else best)
        said["text_offset"].append(offset + len(text[:length].decode(errors="ignore")))
        length += len(words[told.token])
    if ids:
        said["token_ids"] = [told.token for told in shown]
    return said


def refuse_contradictions(body: CompletionBody) -> None:
    """Raises ApiError."""
    if body.suffix:
        raise ApiError(
            400, "`suffix` was given: these models write what follows, and fill no gap. Leave it "
            "out.", param="suffix",
        )  # fmt: skip
    if body.best_of is not None and body.best_of < (body.n or 1):
        raise ApiError(
            400, f"best_of={body.best_of} is less than n={body.n}: there are no n best of it.",
            param="best_of",
        )  # fmt: skip
    if body.stream and (body.best_of or 1) > (body.n or 1):
        raise ApiError(
            400, "`best_of` is decided at the end and cannot be streamed: leave one out.",
            param="best_of",
        )  # fmt: skip
    if body.max_tokens == 0 and (not body.echo or body.stream):
        raise ApiError(
            400, "max_tokens=0 leaves nothing to say: give 1 or more, or `echo` without `stream`.",
            param="max_tokens",
        )  # fmt: skip


def count_usage(prompt: int, said: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
