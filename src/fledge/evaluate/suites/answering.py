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
from fledge.sample.rollouts import encode_prompt
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
    context: int = policy.network.config.context
    if max_new_tokens >= context:
        raise UserError(
            f"max_new_tokens={max_new_tokens} was given and the model's context is {context}: "
            "lower it, so that a question has room too."
        )
    room = context - max_new_tokens
    requests: list[Request] = []
    for number, (question, before) in enumerate(zip(questions, befores, strict=True)):
        text = before + question.prompt
        # as a text, a blank at its end belongs to the first token of what follows
        ids = encode_prompt(tokenizer, text) if chat else tokenizer.open_text(text.rstrip(" "))
        stops = question.stop if question.stop_in_turn or not chat else ()
        for sample in range(samples):
            requests.append(
                Request(
                    ids[-room:],
                    max_new_tokens,
                    rule=rule,
                    stop=tokenizer.ends,
                    stop_strings=stops,
                    seed=seed,
                    sample=number * samples + sample,
                )
            )
    if not requests:
        return []
    longest = max(len(request.prompt) for request in requests) + max_new_tokens
    words = tokenizer.vocabulary[: len(policy.network.unembedding)]
    shared = HELD if any(befores) else 0
    engine = Engine(
        policy,
        slots=min(SLOTS, len(requests)),
        positions=longest,
        vocabulary=words + [b""] * (len(policy.network.unembedding) - len(words)),
        prefix_cache_rows=shared,
    )
    said: list[Said] = []
    for request, one in zip(requests, engine.run(requests), strict=True):
        if one.error is not None:
            raise UserError(one.error)
        text = cut(tokenizer.decode_bytes(one.tokens), request.stop_strings)
        said.append(Said(text.decode(errors="replace"), len(one.tokens), one.stopped))
    return [said[a : a + samples] for a in range(0, len(said), samples)]
