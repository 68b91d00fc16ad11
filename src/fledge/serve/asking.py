"""From a body in OpenAI's form to requests of the engine."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from fledge.engine.constraint import Constraint
from fledge.engine.engine import ENGINE
from fledge.engine.request import Request
from fledge.errors import UserError
from fledge.log_prob import Decoding
from fledge.serve.api_errors import ApiError
from fledge.serve.served import Served
from fledge.serve.wire import ChatBody, Sampling


def make_requests(
    body: Sampling,
    served: Served,
    prompts: Sequence[Sequence[int]],
    *,
    count: int,
    max_tokens: int | None,
    alternatives: int = 0,
    constraint: Constraint | None = None,
) -> list[Request]:
    """`count` of each prompt, one after the other. Raises ApiError for what cannot be answered.

    max_tokens: None leaves it to the context.
    """
    if body.stream_options is not None and not body.stream:
        raise ApiError(
            400, "`stream_options` was given without `stream`: give `stream: true`, or leave it "
            "out.", param="stream_options",
        )  # fmt: skip
    room = served.loop.slots + served.loop.queue_rows
    if count * len(prompts) > room:
        raise ApiError(
            400,
            f"{count * len(prompts)} answers were asked for at once, and this server takes {room} "
            "at the most: ask for fewer.",
            param="n",
        )
    for prompt in prompts:
        check_length(prompt, served)
    rule = Decoding(
        1.0 if body.temperature is None else body.temperature,
        max(body.top_k or 0, 0),
        1.0 if body.top_p is None else body.top_p,
        body.min_p or 0.0,
    )
    seed = secrets.randbits(63) if body.seed is None else body.seed % 2**64
    fields: dict[str, Any] = {
        "rule": rule,
        "stop": list_stop_tokens(body, served),
        "stop_strings": list_stops(body),
        "repetition_penalty": body.repetition_penalty or 1.0,
        "presence_penalty": body.presence_penalty or 0.0,
        "frequency_penalty": body.frequency_penalty or 0.0,
        "logit_bias": read_bias(body),
        "constraint": constraint,
        "alternatives": min(alternatives, served.vocab_size),
        "seed": seed,
    }
    requests: list[Request] = []
    for prompt in prompts:
        most = served.positions - len(prompt)
        new = most if max_tokens is None else min(max_tokens, most)
        least = min(body.min_tokens or 0, new)
        request = Request(prompt, new, least, sample=len(requests), **fields)
        try:
            request.check(served.vocab_size, served.positions, ENGINE)
        except UserError as error:
            raise name_fields(str(error), body) from None
        requests.append(request)
        requests += [
            Request(prompt, new, least, sample=len(requests) + i, **fields)
            for i in range(count - 1)
        ]
    return requests


def name_fields(message: str, body: Sampling) -> ApiError:
    """What the engine says of a request, by the names that its fields have in this body."""
    limit = "max_tokens"
    if isinstance(body, ChatBody) and body.max_completion_tokens is not None:
        limit = "max_completion_tokens"
    names = {"max_new_tokens": limit, "min_new_tokens": "min_tokens"}
    given = next((name for name in names if name in message), None)
    for name, own in names.items():
        message = message.replace(name, own)
    return ApiError(400, message, param=None if given is None else names[given])


def check_length(prompt: Sequence[int], served: Served) -> None:
    """Raises ApiError for a prompt that leaves no room for an answer, and for an empty one."""
    if not prompt:
        raise ApiError(400, "the prompt is empty: give one token or more.", param="prompt")
    if len(prompt) >= served.positions:
        raise ApiError(
            400,
            f"the prompt has {len(prompt):,} tokens, and prompt and answer together have "
            f"{served.positions:,}: shorten it.",
            code="context_length_exceeded",
        )


def list_stop_tokens(body: Sampling, served: Served) -> frozenset[int]:
    """Raises ApiError for one that is no token."""
    given = body.stop_token_ids or []
    if any(not 0 <= token < served.vocab_size for token in given):
        raise ApiError(
            400,
            f"`stop_token_ids` has one that is not in the vocabulary of {served.vocab_size:,}.",
            param="stop_token_ids",
        )
    return frozenset(given) | (frozenset() if body.ignore_eos else served.tokenizer.ends)


def list_stops(body: Sampling) -> tuple[str, ...]:
    """Raises ApiError for an empty one, which would end every row at once."""
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if "" in stops:
        raise ApiError(400, "`stop` has an empty text: leave it out.", param="stop")
    if any(len(stop) > 1000 for stop in stops):
        raise ApiError(400, "`stop` has a text beyond 1,000 characters.", param="stop")
    return stops


def read_bias(body: Sampling) -> dict[int, float]:
    """−100 forbids a token, as OpenAI has it."""
    biases: dict[int, float] = {}
    for token, bias in (body.logit_bias or {}).items():
        if not token.isascii() or not token.isdigit() or len(token) > 9:
            raise ApiError(
                400,
                f"`logit_bias` has the key {token[:40]!r}: it is the number of a token.",
                param="logit_bias",
            )
        if not -100 <= bias <= 100:
            raise ApiError(
                400,
                f"`logit_bias` of token {token} is {bias}: it lies between −100 and 100.",
                param="logit_bias",
            )
        biases[int(token)] = float("-inf") if bias == -100 else bias
    return biases
