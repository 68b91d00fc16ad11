"""Answers in words: what a model says to each question, by the token engine, up to the texts that
end an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.engine.stop_strings import cut
from fledge.errors import UserError
from fledge.evaluate.suites.questions import AskedQuestion
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.text.asking import encode_prompt
from fledge.text.tokenizer import Tokenizer

SLOTS = 64
HELD = 8  # finished rows whose keys are kept: examples before a question are read once


@dataclass(frozen=True)
class Said:
    """text: up to what ends it. tokens: how many were said. stopped: whether it came to an end of
    its own, and was not cut.
    """

    text: str
    tokens: int
    stopped: bool


def answer(
    policy: TokenPolicy,
    tokenizer: Tokenizer,
    questions: Sequence[AskedQuestion],
    befores: Sequence[str],
    *,
    max_new_tokens: int,
    rule: Decoding,
    samples: int = 1,
    chat: bool = False,
    seed: int = 0,
) -> list[list[Said]]:
    """`samples` answers to each question. befores: what stands before each, such as examples. chat:
    as a user's turn. A prompt that leaves no room loses its first tokens. Raises UserError.
    """
    prompts: list[list[int]] = []
    stops: list[tuple[str, ...]] = []
    for question, before in zip(questions, befores, strict=True):
        text = before + question.prompt
        # as a text, a blank at its end belongs to the first token of what follows
        ids = encode_prompt(tokenizer, text) if chat else tokenizer.open_text(text.rstrip(" "))
        prompts += [ids] * samples
        stops += [question.stop if question.stop_in_turn or not chat else ()] * samples
    said = say(
        policy, tokenizer, prompts, stops, max_new_tokens=max_new_tokens, rule=rule, seed=seed,
        shared=any(befores),
    )  # fmt: skip
    return [said[a : a + samples] for a in range(0, len(said), samples)]


def say(
    policy: TokenPolicy,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[Sequence[str]],
    *,
    max_new_tokens: int,
    rule: Decoding,
    seed: int = 0,
    shared: bool = False,
) -> list[Said]:
    """One answer to each. shared: whether many prompts begin alike. Raises UserError."""
    context: int = policy.network.config.context
    if max_new_tokens >= context:
        raise UserError(
            f"max_new_tokens={max_new_tokens} was given and the model's context is {context}: "
            "lower it, so that a question has room too."
        )
    if not prompts:
        return []
    room = context - max_new_tokens
    requests = [
        Request(
            ids[-room:], max_new_tokens, rule=rule, stop=tokenizer.ends, stop_strings=tuple(ends),
            seed=seed, sample=number,
        )
        for number, (ids, ends) in enumerate(zip(prompts, stops, strict=True))
    ]  # fmt: skip
    size = len(policy.network.unembedding)
    words = tokenizer.vocabulary[:size]
    engine = Engine(
        policy,
        slots=min(SLOTS, len(requests)),
        positions=max(len(request.prompt) for request in requests) + max_new_tokens,
        vocabulary=words + [b""] * (size - len(words)),
        prefix_cache_rows=HELD if shared else 0,
    )
    said: list[Said] = []
    for request, one in zip(requests, engine.run(requests), strict=True):
        if one.error is not None:
            raise UserError(one.error)
        text = cut(tokenizer.decode_bytes(one.tokens), request.stop_strings)
        said.append(Said(text.decode(errors="replace"), len(one.tokens), one.stopped))
    return said
