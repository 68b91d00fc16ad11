"""Speculative decoding says what the model says: the same distribution, and under a greedy rule the
same tokens.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
import torch

from fledge.engine.engine import Engine
from fledge.engine.guess import look_up
from fledge.engine.request import Request
from fledge.engine.speculative import Speculator
from fledge.engine.structures import regex
from fledge.engine.vocabulary import Vocabulary
from fledge.errors import UserError
from fledge.log_prob import PLAIN, Decoding
from fledge.policy import TokenPolicy
from tests.engine.strangers import CONSTRAINTS
from tests.subjects import TableNetwork, come_as_often_as, policy_of, transformer, truncated

SYMBOLS, LENGTH = 5, 6


@pytest.mark.parametrize("draft", [True, False], ids=["draft model", "prompt look-up"])
@pytest.mark.parametrize("rule", [PLAIN, Decoding(0.7, top_k=3, top_p=0.9, min_p=0.05)], ids=str)
@pytest.mark.parametrize("samples", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_whole_sequences_come_as_often_as_their_exact_probability_says(
    samples: int, rule: Decoding, draft: bool
) -> None:
    """So many completions of a language of 5 symbols and 6 steps against the exact distribution;
    false alarm 1 in 10,000.
    """
    network = TableNetwork(SYMBOLS, LENGTH, seed=1, scale=1.5)
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


PATTERN, LETTERS = "(ab|ba|c)*d?", "_abcd"
BOUND = regex(PATTERN, Vocabulary([b"", b"a", b"b", b"c", b"d", b""]), frozenset({0}))


def may_follow(word: tuple[int, ...], symbol: int) -> bool:
    """By `re`: whether the pattern allows it there, trying every end of up to two letters."""
    text = "".join(LETTERS[each] for each in word)
    if symbol == 0:
        return re.fullmatch(PATTERN, text) is not None
    ends = ("", *LETTERS[1:], *(a + b for a in LETTERS[1:] for b in LETTERS[1:]))
    return any(re.fullmatch(PATTERN, text + LETTERS[symbol] + end) for end in ends)


@pytest.mark.parametrize("draft", [True, False], ids=["draft model", "prompt look-up"])
@pytest.mark.parametrize("rule", [PLAIN, Decoding(0.7, top_k=3)], ids=str)
def test_under_a_constraint_sequences_come_as_often_as_their_exact_probability_says(
    rule: Decoding, draft: bool
) -> None:
    """The model's next-token distribution on what the pattern allows, step by step, as it is
    without guesses; a look-up guesses from a prompt that holds what is forbidden.
    """
    network, samples = TableNetwork(SYMBOLS, LENGTH, seed=1, scale=1.5), 4_000
    exact = every_sequence(network, rule, may_follow)
    smaller = TokenPolicy(TableNetwork(SYMBOLS, LENGTH, seed=2)) if draft else None
    speculator = Speculator(TokenPolicy(network), draft=smaller, ahead=2, slots=2000)
    stop = frozenset({0})
    rows = speculator.run(
        [
            Request([SYMBOLS], LENGTH, rule=rule, stop=stop, constraint=BOUND, sample=i)
            for i in range(samples)
        ]
    )
    come_as_often_as(exact, Counter(tuple(one.tokens) for one in rows))
    assert 0.05 * speculator.proposed < speculator.accepted < 0.95 * speculator.proposed
    for one in rows[:100]:
        assert sum(one.logp) == pytest.approx(math.log(exact[tuple(one.tokens)]))


@pytest.mark.parametrize("draft", [True, False], ids=["draft model", "prompt look-up"])
def test_a_bound_greedy_row_is_that_of_the_engine_however_it_ends(draft: bool) -> None:
    """By the stop token, by having said all where there is none, and by the length."""
    policy = policy_of(transformer(dtype=torch.float64))
    smaller = policy_of(transformer(1, dtype=torch.float64, layers=1)) if draft else None
    requests = [
        Request([3, 4, 3, 4, 5], 9, rule=Decoding(0), stop=stop, constraint=constraint, sample=n)
        for stop, constraints in CONSTRAINTS.items()
        for n, constraint in enumerate([None, *constraints])
    ]
    plain = Engine(policy).run(requests)
    guessed = Speculator(policy, draft=smaller, ahead=3, slots=5).run(requests)
    for one, other in zip(guessed, plain, strict=True):
        assert (one.tokens, one.ended, one.error) == (other.tokens, other.ended, other.error)
        assert one.raw_logp == pytest.approx(other.raw_logp)
    assert {one.ended for one in plain} == {"stop", "length"}
    assert any(one.ended == "stop" and one.tokens[-1:] != [2] for one in plain)


def every_sequence(
    network: TableNetwork,
    rule: Decoding,
    may: Callable[[tuple[int, ...], int], bool] = lambda word, symbol: True,
) -> dict[tuple[int, ...], float]:
    """All that can be said until a 0 or the longest length, and its probability, symbol by
    symbol. may: whether a symbol may follow a word.
    """
    exact: dict[tuple[int, ...], float] = {}
    alive = {(): 1.0}
    for _ in range(LENGTH):
        longer: dict[tuple[int, ...], float] = {}
        for word, p in alive.items():
            logits = network.table[:, reduce(network.child, word, 0)].tolist()
            bound = [x if may(word, each) else -math.inf for each, x in enumerate(logits)]
            after = truncated(bound, rule)
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
