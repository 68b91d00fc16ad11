"""Requests of every kind, drawn by chance: the neighbours that a row of the engine must not
notice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from fledge.engine.request import Completion, Request
from fledge.engine.structures import choice, regex
from fledge.engine.vocabulary import Vocabulary
from fledge.log_prob import PLAIN, Decoding
from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy

STOP = frozenset({2})
# the last two are é together
SPELT = [
    b"",
    b"",
    b"",
    b"a",
    b"b",
    b"c",
    b"ab",
    b"ba",
    b"abc",
    b"\xc3",
    b"\xa9",
]
TOKENS = Vocabulary(SPELT)
RULES = [
    PLAIN,
    Decoding(temperature=0),
    Decoding(temperature=1.4),
    Decoding(temperature=0.8, top_k=4),
    Decoding(top_p=0.9),
    Decoding(temperature=1.2, top_k=7, top_p=0.95, min_p=0.02),
]
CONSTRAINTS = {
    stop: [
        regex("(ab|c|é)*", TOKENS, stop),
        regex("[abc]{3,9}", TOKENS, stop),
        choice(["abc", "cab", "éa"], TOKENS, stop),
    ]
    for stop in (STOP, frozenset[int](), frozenset({2, 5}))
}


def tokens(rng: np.random.Generator, n: int) -> list[int]:
    return rng.integers(0, 11, n).tolist()


def stranger(rng: np.random.Generator, sample: int, longest: int = 12, most: int = 16) -> Request:
    """A prompt of up to `longest` tokens, or twice that where it begins as others do; up to `most`
    new ones.
    """
    chance = rng.random(8) < 0.25
    prompt = tokens(rng, int(rng.integers(1, longest + 1)))
    if chance[0]:
        prompt = tokens(np.random.default_rng(int(rng.integers(3))), longest) + prompt
    stop = [STOP, STOP, frozenset[int](), frozenset({2, 5})][rng.integers(4)]
    room = int(rng.integers(1, most + 1))
    constraint = CONSTRAINTS[stop][rng.integers(3)] if chance[1] and room >= 3 else None
    return Request(
        prompt,
        room,
        min_new_tokens=int(rng.integers(room + 1))
        if chance[2]
        else 0,  # with a constraint some cannot be answered
        rule=RULES[rng.integers(len(RULES))],
        stop=stop,
        stop_strings=("ba", "cc", "é") if chance[3] else (),
        repetition_penalty=float(rng.uniform(0.7, 1.5)) if chance[4] else 1.0,
        presence_penalty=float(rng.uniform(-1, 1)) if chance[5] else 0.0,
        logit_bias={int(rng.integers(3, 11)): float(rng.choice([-math.inf, -1.0, 2.0]))}
        if chance[6]
        else {},
        constraint=constraint,
        alternatives=int(rng.integers(1, 5)) if chance[7] else 0,
        seed=int(rng.integers(2**63)),
        sample=sample,
    )


def strangers(count: int, seed: int = 0) -> list[Request]:
    rng = np.random.default_rng(seed)
    return [stranger(rng, sample) for sample in range(count)]


def same(row: Completion, expected: Completion, bound: float) -> None:
    """All but the version: what was said and how it ended, and chances within the bound."""
    assert (row.prompt, row.tokens, row.ended) == (
        expected.prompt,
        expected.tokens,
        expected.ended,
    )
    assert row.error == expected.error
    assert row.logp == pytest.approx(expected.logp, abs=bound)
    assert row.raw_logp == pytest.approx(expected.raw_logp, abs=bound)
    assert len(row.alternatives) == len(expected.alternatives)
    for one, other in zip(row.alternatives, expected.alternatives, strict=True):
        assert [token for token, _ in one] == [token for token, _ in other]
        assert [logp for _, logp in one] == pytest.approx([logp for _, logp in other], abs=bound)


@torch.no_grad()
def plain(
    policy: TokenPolicy, network: Transformer, prompt: Sequence[int], said: Sequence[int]
) -> torch.Tensor:
    """log π of the model itself after the prompt and after every token said: one forward pass
    without a cache.  [said + 1, V]
    """
    row = torch.tensor([[*prompt, *said]])
    logits = network(row, network.document_mask(row))[0, len(prompt) - 1 :] @ network.unembedding.T
    if policy.allowed is not None:
        logits = logits.masked_fill(~policy.allowed, -math.inf)
    return logits.log_softmax(-1)
