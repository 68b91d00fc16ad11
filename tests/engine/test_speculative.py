"""Speculative decoding says what the model says: the same distribution, and under a greedy rule the
same tokens.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import reduce
from typing import Any

import pytest
import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.engine.speculative import Speculator, look_up
from fledge.errors import UserError
from fledge.log_prob import PLAIN, Decoding
from fledge.policy import TokenPolicy
from tests.subjects import TableNetwork, come_as_often_as, policy_of, transformer, truncated

SYMBOLS, LENGTH = 5, 6


@pytest.mark.parametrize("draft", [True, False], ids=["draft model", "prompt look-up"])
@pytest.mark.parametrize("rule", [PLAIN, Decoding(0.7, top_k=3, top_p=0.9, min_p=0.05)], ids=str)
def test_whole_sequences_come_as_often_as_their_exact_probability_says(
    rule: Decoding, draft: bool
) -> None:
    """100,000 completions of a language of 5 symbols and 6 steps against the exact distribution;
    false alarm 1 in 10,000.
    """
    network, samples = TableNetwork(SYMBOLS, LENGTH, seed=1, scale=1.5), 100_000
    exact = every_sequence(network, rule)
    smaller = TokenPolicy(TableNetwork(SYMBOLS, LENGTH, seed=2)) if draft else None
    speculator = Speculator(TokenPolicy(network), draft=smaller, ahead=2, slots=5000)
    stop = frozenset({0})
    rows = speculator.run(
        [Request([SYMBOLS], LENGTH, rule=rule, stop=stop, sample=i) for i in range(samples)]
    )
    come_as_often_as(exact, Counter(tuple(one.tokens) for one in rows))
    assert 0.05 * speculator.proposed < speculator.accepted < 0.95 * speculator.proposed
    for one in rows[:200]:  # what it says of its chances
        assert sum(one.logp) == pytest.approx(math.log(exact[tuple(one.tokens)]))


def every_sequence(network: TableNetwork, rule: Decoding) -> dict[tuple[int, ...], float]:
    """All that can be said until a 0 or the longest length, and its probability, symbol by
    symbol.
    """
    exact: dict[tuple[int, ...], float] = {}
    alive = {(): 1.0}
    for _ in range(LENGTH):
        longer: dict[tuple[int, ...], float] = {}
        for word, p in alive.items():
            after = truncated(network.table[:, reduce(network.child, word, 0)].tolist(), rule)
            longer |= {(*word, symbol): p * chance for symbol, chance in enumerate(after) if chance}
        exact |= {word: p for word, p in longer.items() if word[-1] == 0}
        alive = {word: p for word, p in longer.items() if word[-1]}
    return exact | alive


KINDS: list[dict[str, Any]] = [{}, {"kv_heads": 1, "qk_norm": True}, {"window": 5}]


@pytest.mark.parametrize("draft", [True, False], ids=["draft model", "prompt look-up"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_greedy_row_is_that_of_the_engine_token_for_token(
    kind: dict[str, Any], draft: bool
) -> None:
    policy = policy_of(transformer(dtype=torch.float64, **kind))
    smaller = policy_of(transformer(1, dtype=torch.float64, layers=1)) if draft else None
    requests = [
        Request(
            [1, *([5, 6, 7] * 3)[:n]], 3 + 2 * n, rule=Decoding(0), stop=frozenset({4}), sample=n
        )
        for n in range(9)
    ]
    plain = Engine(policy).run(requests)
    speculator = Speculator(policy, draft=smaller, ahead=4, slots=4)
    for one, other in zip(speculator.run(requests), plain, strict=True):
        assert (one.tokens, one.ended) == (other.tokens, other.ended)
        assert one.raw_logp == pytest.approx(other.raw_logp)
    assert speculator.accepted > 0


def test_a_model_that_drafts_for_itself_is_always_right() -> None:
    policy = policy_of(transformer(dtype=torch.float64))
    speculator = Speculator(policy, draft=policy, ahead=4)
    rows = speculator.run([Request([1, 2], 20, sample=i) for i in range(8)])
    assert speculator.accepted == speculator.proposed
    for one in rows:
        row = torch.tensor([one.prompt + one.tokens])
        exact = policy.log_prob(row, row[:, 1:])[0, len(one.prompt) - 1 :]
        torch.testing.assert_close(torch.tensor(one.logp, dtype=torch.float64), exact.detach())


@pytest.mark.parametrize("draft", [True, False], ids=["draft model", "prompt look-up"])
def test_a_row_says_the_same_alone_and_among_others(draft: bool) -> None:
    policy = policy_of(transformer(dtype=torch.float64))
    smaller = policy_of(transformer(1, dtype=torch.float64, layers=1)) if draft else None
    requests = [Request([1] * (1 + n % 5), 2 + n, stop=frozenset({4}), sample=n) for n in range(12)]
    together = Speculator(policy, draft=smaller, slots=7).run(requests)
    for request, one in zip(requests, together, strict=True):
        assert Speculator(policy, draft=smaller).run([request])[0].tokens == one.tokens


def test_look_up_takes_what_followed_the_longest_and_latest_match() -> None:
    assert look_up([1, 2, 3, 9, 2, 3, 8, 2, 3], 2) == [8, 2]
    assert look_up([1, 2, 3, 4, 7, 3, 1, 2, 3], 9) == [4, 7, 3, 1, 2, 3]
    assert look_up([1, 2, 3], 4) == []
    assert look_up([1], 4) == []


def test_what_it_cannot_do_is_said_and_stops_no_neighbour() -> None:
    policy = policy_of(transformer())
    good = Request([1, 2], 5)
    bad = [
        Request([], 5),
        Request([1], 5, repetition_penalty=1.2),
        Request([1, 99], 5),
        Request([1] * 32, 5),
    ]
    first, *errors, last = Speculator(policy).run([good, *bad, good])
    assert first == last
    assert len(first.tokens) == 5
    assert [one.ended for one in errors] == ["error"] * 4
    assert "repetition_penalty was given, which speculative decoding does not know" in (
        errors[1].error or ""
    )
    with pytest.raises(UserError, match="same tokens"):
        Speculator(policy, draft=policy_of(transformer(vocab_size=12)))
    with pytest.raises(UserError, match="ahead=0"):
        Speculator(policy, ahead=0)


@pytest.mark.parametrize("draft", [True, False], ids=["draft model", "prompt look-up"])
def test_of_a_prompt_of_several_documents_the_last_is_read_as_the_engine_does(draft: bool) -> None:
    network = transformer(dtype=torch.float64, border=1)
    smaller = policy_of(transformer(1, dtype=torch.float64, layers=1)) if draft else None
    prompt = [1, 5, 6, 7, 1, 8, 9, 8]
    request = Request(prompt, 9, rule=Decoding(0))
    [one] = Speculator(policy_of(network), draft=smaller).run([request])
    [other] = Engine(policy_of(network)).run([request])
    assert (one.prompt, one.tokens, one.ended) == (prompt, other.tokens, other.ended)
    row = torch.tensor([prompt + one.tokens])
    exact = policy_of(network).log_prob(row, row[:, 1:])[0, len(prompt) - 1 :]
    torch.testing.assert_close(torch.tensor(one.raw_logp, dtype=torch.float64), exact.detach())
