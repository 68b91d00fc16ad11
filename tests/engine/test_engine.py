"""A row of the engine says what its request asks, whoever its neighbours are, and is scored as the
trainer scores it.
"""

from __future__ import annotations

import dataclasses
import math
import random
import re
import time
import tracemalloc
from typing import Any

import pytest
import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Completion, Request
from fledge.engine.structures import choice, regex
from fledge.engine.vocabulary import Vocabulary
from fledge.errors import UserError
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from tests.engine.strangers import CONSTRAINTS, RULES, SPELT, STOP, TOKENS, plain, same, strangers
from tests.subjects import TableNetwork, policy_of, transformer


def subject(dtype: torch.dtype = torch.float64, **sizes: Any) -> TokenPolicy:
    return policy_of(transformer(dtype=dtype, context=48, **sizes))


# Rows do not notice each other


@pytest.mark.parametrize("slots", [1, 3, 64, 100])
@pytest.mark.parametrize("prefix_cache_rows", [0, 5])
def test_a_row_says_the_same_alone_and_among_strangers_in_any_order(
    slots: int, prefix_cache_rows: int
) -> None:
    """65 requests, mixed three times through one engine: every row against its own in an engine of
    one slot.
    """
    policy, requests = subject(), strangers(65)
    alone = [Engine(policy, slots=1, vocabulary=SPELT).run([request])[0] for request in requests]
    assert {row.ended for row in alone} == {"stop", "stop_string", "length", "error"}
    engine = Engine(policy, slots=slots, prefix_cache_rows=prefix_cache_rows, vocabulary=SPELT)
    for turn in range(3):
        order = random.Random(turn).sample(range(65), 65)
        for i, row in zip(order, engine.run(requests[i] for i in order), strict=True):
            same(row, alone[i], 1e-10)


def test_rows_submitted_while_others_are_under_way_change_nothing() -> None:
    policy, requests = subject(), strangers(40, seed=1)
    expected = Engine(policy, slots=40, vocabulary=SPELT).run(requests)
    engine, waiting = Engine(policy, slots=6, vocabulary=SPELT), list(enumerate(requests))
    completions: dict[int, Completion] = {}
    coin = random.Random(0)
    while waiting or engine.busy:
        if waiting and coin.random() < 0.6:
            assert engine.submit(waiting[0][1]) == waiting.pop(0)[0]
        completions.update(engine.advance())
    for number, row in completions.items():
        same(row, expected[number], 1e-10)
    assert len(completions) == len(requests)


def test_run_returns_its_own_and_leaves_what_was_submitted_before() -> None:
    policy = subject()
    first, second, third = strangers(3, seed=2)
    engine = Engine(policy, vocabulary=SPELT, slots=2)
    number = engine.submit(first)
    assert [row.prompt for row in engine.run([second, third])] == [second.prompt, third.prompt]
    completions: dict[int, Completion] = {}
    while engine.busy:
        completions.update(engine.advance())
    assert {n: row.prompt for n, row in completions.items()} == {number: first.prompt}


def test_samples_and_seeds_are_numbers_of_their_own() -> None:
    engine, request = Engine(subject()), Request([3], 30)
    several = [
        dataclasses.replace(request, seed=seed, sample=sample)
        for seed in (0, 1, 2**63, 2**63 + 1, 2**64 - 1)
        for sample in (0, 1, 2**63)
    ]
    rows = engine.run(several)
    assert len({tuple(row.tokens) for row in rows}) == len(rows)


# Chances


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_chances_are_those_of_a_plain_forward_pass(
    rule: Decoding, dtype: torch.dtype, bound: float
) -> None:
    """Of what was sampled, of the model itself, and of the likeliest alternatives; 40 rows."""
    policy = subject(dtype)
    requests = [
        dataclasses.replace(
            one,
            rule=rule,
            logit_bias={},
            repetition_penalty=1.0,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            min_new_tokens=0,
            constraint=None,
            alternatives=1 + i % 11,
        )
        for i, one in enumerate(strangers(40, seed=3))
    ]
    for request, row in zip(
        requests, Engine(policy, slots=16, vocabulary=SPELT).run(requests), strict=True
    ):
        whole = torch.tensor([row.prompt + row.tokens])
        raw = plain(policy, policy.network, row.prompt, row.tokens)[:-1]
        assert row.raw_logp == pytest.approx(
            [float(raw[t, token]) for t, token in enumerate(row.tokens)], abs=bound
        )
        if rule.greedy:
            assert row.logp == [0.0] * len(row.tokens)
            assert row.tokens == raw.argmax(-1).tolist()
        else:
            scored = policy.with_rule(rule).log_prob(whole, whole[:, 1:])[0, len(row.prompt) - 1 :]
            assert row.logp == pytest.approx(scored.tolist(), abs=bound)
        for chances, told in zip(raw, row.alternatives, strict=True):
            ranked = sorted(range(2, 11), key=lambda token, of=chances: -float(of[token]))[
                : request.alternatives
            ]
            assert [
                token for token, _ in told
            ] == ranked  # 0 and 1 are no actions, however many are asked for
            assert [logp for _, logp in told] == pytest.approx(chances[ranked].tolist(), abs=bound)


def test_tokens_are_announced_in_order_and_make_up_the_completion() -> None:
    policy, heard = subject(), dict[int, list[int]]()
    engine = Engine(policy, slots=7, vocabulary=SPELT)
    requests = strangers(40, seed=4)
    rows = engine.run(requests, lambda number, token: heard.setdefault(number, []).append(token))
    assert [heard.get(number, []) for number in range(40)] == [row.tokens for row in rows]
    for row, silent in zip(
        rows, Engine(policy, slots=7, vocabulary=SPELT).run(requests), strict=True
    ):
        same(row, silent, 1e-10)


# What goes wrong


def interrupted(engine: Engine, bad: Request, neighbours: list[Request]) -> Completion:
    """The bad one's completion, when it comes among neighbours, who must not notice."""
    expected = Engine(engine.policy, slots=8, vocabulary=SPELT).run(neighbours)
    half = len(neighbours) // 2
    *before, row_of_bad = engine.run([*neighbours[:half], bad, *neighbours[half:]])[: half + 1]
    rest = engine.run([bad, *neighbours[half:]])[1:]
    for row, undisturbed in zip(before + rest, expected, strict=True):
        same(row, undisturbed, 1e-10)
    assert not engine.batch.live
    return row_of_bad


LETTERS = frozenset(range(3, 11))
BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": []}, "the prompt is empty"),
    ({"prompt": [3] * 48}, "48 tokens.*context is 48"),
    ({"prompt": [3] * 5000}, "5000 tokens.*context is 48"),
    ({"prompt": [3, 11]}, "token 11 is not in the vocabulary of 11"),
    ({"prompt": [-1]}, "token -1 is not"),
    ({"stop": frozenset({2, 99})}, "token 99 is not"),
    ({"stop": frozenset({-1})}, "token -1 is not"),
    ({"logit_bias": {12: 1.0}}, "token 12 is not"),
    ({"logit_bias": {3: math.nan}}, "logit_bias"),
    ({"logit_bias": {3: math.inf}}, "logit_bias"),
    ({"max_new_tokens": 0}, "max_new_tokens=0"),
    ({"max_new_tokens": -5}, "max_new_tokens=-5"),
    ({"min_new_tokens": -1}, "min_new_tokens=-1"),
    ({"min_new_tokens": 9, "max_new_tokens": 8}, "contradict"),
    ({"repetition_penalty": 0.0}, "repetition_penalty=0.0"),
    ({"repetition_penalty": math.nan}, "repetition_penalty=nan"),
    ({"presence_penalty": math.inf}, "presence_penalty=inf"),
    ({"frequency_penalty": math.nan}, "frequency_penalty=nan"),
    ({"stop_strings": ("a", "")}, "empty stop string"),
    ({"stop_strings": ("\ud800",)}, "surrogate"),
    ({"alternatives": 12}, "alternatives=12"),
    ({"seed": -1}, "seed=-1"),
    ({"seed": 2**64}, r"between 0 and 2\^64"),
    ({"sample": -1}, "sample=-1"),
    ({"sample": 10**30}, r"between 0 and 2\^64"),
    (
        {"constraint": CONSTRAINTS[STOP][0]},
        r"stop tokens are \[\] and those of the constraint \[2\]",
    ),
    (
        {"constraint": CONSTRAINTS[frozenset()][0], "stop": STOP},
        r"stop tokens are \[2\] and those of the constraint \[\]",
    ),
    ({"constraint": regex("a", Vocabulary([*SPELT, b"x"]), ())}, "made for 12 tokens"),
    ({"constraint": regex("(abc){3}", TOKENS, ()), "max_new_tokens": 2}, "room for 2 tokens"),
    (
        {"constraint": regex("a{40}", TOKENS, ()), "prompt": [3] * 20, "max_new_tokens": 40},
        "room for 28 tokens",
    ),
    (
        {
            "constraint": choice(["abc"], TOKENS, ()),
            "logit_bias": dict.fromkeys(LETTERS, -math.inf),
        },
        "nothing may be said",
    ),
    (
        {"constraint": choice(["ab", "c"], TOKENS, STOP), "stop": STOP, "min_new_tokens": 9},
        "nothing may be said",
    ),
    ({"constraint": choice(["ab", "c"], TOKENS, ()), "min_new_tokens": 9}, "nothing may be said"),
    (
        {"constraint": choice(["ab"], TOKENS, STOP), "stop": STOP, "logit_bias": {2: -math.inf}},
        "nothing may be said",
    ),
    ({"logit_bias": dict.fromkeys([2, *LETTERS], -math.inf)}, "nothing may be said"),
    ({"stop": LETTERS | STOP, "min_new_tokens": 1}, "nothing may be said"),
    ({"logit_bias": {4: 1e308}, "rule": Decoding(temperature=0.5)}, "not finite"),
    ({"repetition_penalty": 1e-320, "prompt": list(range(11))}, "not finite"),
    ({"rule": Decoding(temperature=1e-320)}, "not finite"),
]


@pytest.mark.parametrize(
    ("wrong", "sentence"), BAD, ids=[f"{i} {', '.join(wrong)}" for i, (wrong, _) in enumerate(BAD)]
)
def test_a_request_that_cannot_be_answered_ends_with_one_sentence_and_alone(
    wrong: dict[str, Any], sentence: str
) -> None:
    engine = Engine(subject(), slots=4, vocabulary=SPELT)
    bad = Request(**{"prompt": [3, 4], "max_new_tokens": 20, **wrong})
    row = interrupted(engine, bad, strangers(8, seed=5))
    assert row.ended == "error"
    assert row.error is not None
    assert row.error.endswith(".")
    assert "\n" not in row.error
    assert len(row.error) < 200
    assert re.search(sentence, row.error), row.error
    assert len(row.tokens) == len(row.logp) == len(row.raw_logp)


def test_stop_strings_need_a_vocabulary_and_a_prompt_a_place() -> None:
    (row,) = Engine(subject()).run([Request([3], stop_strings=("a",))])
    assert "no vocabulary" in str(row.error)
    (row,) = Engine(subject(), positions=8).run([Request([3] * 8)])
    assert "a slot of this engine holds 8" in str(row.error)


def test_an_absurd_number_of_tokens_is_cut_at_the_context_and_takes_no_memory() -> None:
    """Less than 1 MB."""
    engine = Engine(subject())
    tracemalloc.start()
    rows = engine.run(
        [Request([3] * n, 10**12, min_new_tokens=10**12, seed=n) for n in (1, 20, 47)]
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6
    assert [(len(row.tokens), row.ended) for row in rows] == [
        (47, "length"),
        (28, "length"),
        (1, "length"),
    ]


def test_weights_that_are_no_numbers_end_rows_with_an_error() -> None:
    policy = subject()
    with torch.no_grad():
        policy.network.norm.weight[0] = math.nan
    for row in Engine(policy).run(
        [Request([3, 4], 9), Request([5], 9, rule=Decoding(temperature=0))]
    ):
        assert (row.ended, row.tokens) == ("error", [])
        assert "not finite" in str(row.error)


def test_an_exception_of_on_token_leaves_the_engine_between_two_steps() -> None:
    """Every third announcement fails: all tokens are announced all the same, in order, and no row
    says anything else.
    """
    policy, requests, heard = subject(), strangers(20, seed=6), list[tuple[int, int]]()
    expected = Engine(policy, slots=5, vocabulary=SPELT).run(requests)

    def on_token(number: int, token: int) -> None:
        heard.append((number, token))
        if len(heard) % 3 == 0:
            raise LookupError

    engine = Engine(policy, slots=5, vocabulary=SPELT)
    for request in requests:
        engine.submit(request, on_token)
    completions: dict[int, Completion] = {}
    failures = 0
    while engine.busy:
        try:
            completions.update(engine.advance())
        except LookupError:
            failures += 1
    assert failures == len(heard) // 3 > 10
    for number, row in completions.items():
        same(row, expected[number], 1e-10)
        assert [token for n, token in heard if n == number] == row.tokens
    assert len(completions) == 20


def test_a_run_that_is_interrupted_leaves_nothing_of_itself_in_the_engine() -> None:
    policy, heard = subject(), list[int]()

    def on_token(number: int, token: int) -> None:
        heard.append(token)
        if len(heard) == 30:
            raise KeyboardInterrupt

    engine = Engine(policy, slots=4, vocabulary=SPELT)
    first, *requests = strangers(30, seed=7)
    number = engine.submit(first)
    with pytest.raises(KeyboardInterrupt):
        engine.run(requests, on_token)
    assert not engine.queue
    rows = engine.run(requests)
    assert len(heard) == 30
    for row, expected in zip(
        rows, Engine(policy, slots=4, vocabulary=SPELT).run(requests), strict=True
    ):
        same(row, expected, 1e-10)
    assert [n for n, _ in engine.advance()] == [number]
    assert not engine.busy


def test_an_interrupted_run_is_forgotten_in_time_that_grows_with_its_requests_and_no_faster() -> (
    None
):
    """Ten times as many that wait take ten times as long, and not a hundred times: processor time,
    the better of two.
    """

    def stop(number: int, token: int) -> None:
        raise KeyboardInterrupt

    def seconds(requests: int) -> float:
        engine, many, began = Engine(subject()), [Request([3], 4)] * requests, time.process_time()
        with pytest.raises(KeyboardInterrupt):
            engine.run(many, stop)
        assert not engine.busy
        return time.process_time() - began

    few, many = (min(seconds(number) for _ in range(2)) for number in (1500, 15000))
    assert many < 40 * few


def test_a_row_may_be_cancelled_from_its_own_announcement_and_in_the_queue() -> None:
    policy, said = subject(), list[int]()
    engine = Engine(policy, slots=1)

    def on_token(number: int, token: int) -> None:
        said.append(token)
        if len(said) == 4:
            engine.cancel(number)

    first, second = engine.submit(Request([3], 30), on_token), engine.submit(Request([4], 30))
    engine.cancel(second)
    engine.cancel(12345)
    completions: dict[int, Completion] = {}
    while engine.busy:
        completions.update(engine.advance())
    assert (completions[first].ended, completions[first].tokens) == ("cancelled", said)
    assert (completions[second].ended, completions[second].tokens) == ("cancelled", [])
    engine.cancel(first)  # it has ended: nothing happens
    assert not engine.busy


# Memory


@pytest.mark.parametrize(
    "policy",
    [subject(), subject(torch.float32, kv_heads=1), TokenPolicy(TableNetwork(5, 6))],
    ids=["float64", "float32", "table"],
)
@pytest.mark.parametrize("prefix_cache_rows", [0, 3])
def test_the_cache_takes_what_was_stated(policy: TokenPolicy, prefix_cache_rows: int) -> None:
    for slots in (1, 9, 40):
        engine = Engine(policy, slots=slots, prefix_cache_rows=prefix_cache_rows)
        assert engine.cache_bytes == engine.batch.cache.store.untyped_storage().nbytes()
        assert len(engine.batch.slots) == slots


def test_where_memory_is_short_requests_wait_for_fewer_slots() -> None:
    policy, requests = subject(), strangers(30, seed=8)
    whole = Engine(policy, slots=20, prefix_cache_rows=2, vocabulary=SPELT)
    each = Engine(policy, slots=1).cache_bytes // 2
    small = Engine(
        policy, slots=20, prefix_cache_rows=2, cache_bytes=7 * each - 1, vocabulary=SPELT
    )
    assert len(small.batch.slots) == 3
    assert small.cache_bytes == small.batch.cache.store.untyped_storage().nbytes() <= 7 * each - 1
    for row, expected in zip(small.run(requests), whole.run(requests), strict=True):
        same(row, expected, 1e-10)
    assert len(Engine(policy, slots=2, cache_bytes=10**12).batch.slots) == 2
    with pytest.raises(
        UserError, match=f"cache_bytes={2 * each - 1}.*one row of 48 tokens takes {2 * each}"
    ):
        Engine(policy, cache_bytes=2 * each - 1)
    assert len(Engine(policy, cache_bytes=2 * each).batch.slots) == 1


def test_an_engine_that_could_do_nothing_is_refused() -> None:
    wrong: list[dict[str, Any]] = [
        {"slots": 0},
        {"slots": -1},
        {"prefix_cache_rows": -1},
        {"vocabulary": SPELT[:5]},
    ]
    for settings in wrong:
        with pytest.raises(UserError):
            Engine(subject(), **settings)
