"""Whatever of a prompt the engine does not read again, and wherever it moves a row, its chances are
those of a plain forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.engine import generation, running_batch
from fledge.engine.engine import Engine
from fledge.engine.generation import GenerationTransformer
from fledge.engine.prefix_cache import MIN_PREFIX
from fledge.engine.request import Completion, Request
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from tests.engine.strangers import plain
from tests.subjects import transformer

GREEDY = Decoding(temperature=0)
CONTEXT = 160
KINDS: list[dict[str, Any]] = [
    {"kv_heads": 4},
    {"kv_heads": 1},
    {"kv_heads": 2, "qk_norm": True, "tied": False},
    {"window": 5},
    {"window": 20, "kv_heads": 1, "qk_norm": True},
]


def subject(kind: dict[str, Any], border: int | None = None) -> TokenPolicy:
    network = transformer(dtype=torch.float64, context=CONTEXT, border=border, **kind)
    return TokenPolicy(network, torch.arange(11) >= 2)


def tokens(n: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(2, 11, n).tolist()


def as_plain(
    policy: TokenPolicy,
    requests: Sequence[Request],
    rows: Sequence[Completion],
    bound: float = 1e-9,
) -> None:
    """Every token is the likeliest, or as likely as it was said to be, at its position in one
    forward pass over the row.
    """
    for request, row in zip(requests, rows, strict=True):
        raw = plain(policy, policy.network, row.prompt, row.tokens)[:-1]
        if request.rule.greedy:
            assert row.tokens == raw.argmax(-1).tolist()
        expected = raw.gather(1, torch.tensor(row.tokens)[:, None])[:, 0].tolist()
        assert row.raw_logp == pytest.approx(expected, abs=bound)
        assert len(row.tokens) == min(request.max_new_tokens, CONTEXT - len(row.prompt))


prompts_ = st.lists(
    st.tuples(
        st.integers(0, 2),  # how it begins …
        st.sampled_from([0, 3, 15, 16, 17, 30, 64, 70]),  # … for how many tokens …
        st.integers(0, 2),  # … and how it goes on …
        # … for how many: few kinds, so that some are equal and some begin others
        st.sampled_from([1, 1, 2, 9, 40]),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS),
    prompts_,
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_rows_with_common_beginnings_and_their_next_turns_are_as_read_alone(
    kind: dict[str, Any],
    shapes: list[tuple[int, int, int, int]],
    slots: int,
    prefix_cache_rows: int,
    turns: int,
    seed: int,
) -> None:
    """Up to 40 new tokens: more than 32 steps, after which slots are put in order. Each turn goes
    on from the last one's rows.
    """
    policy = subject(kind)
    engine = Engine(policy, slots=slots, prefix_cache_rows=prefix_cache_rows)
    prompts = [tokens(70, 10 + a)[:n] + tokens(40, 20 + b)[:m] for a, n, b, m in shapes]
    rng = np.random.default_rng(seed)
    for turn in range(turns):
        requests = [
            Request(
                prompt,
                int(rng.integers(1, 41)),
                rule=[GREEDY, Decoding()][rng.integers(2)],
                seed=seed,
                sample=i,
            )
            for i, prompt in enumerate(prompts)
            if len(prompt) < CONTEXT
        ]
        rows = engine.run(requests)
        as_plain(policy, requests, rows)
        prompts = [row.prompt + row.tokens + tokens(3, 40 + turn) for row in rows]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_many_rows_of_very_unequal_length_are_as_read_alone(
    kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """120 rows of four beginnings in 70 slots, put in order of length every 3 steps; attention goes
    block by block.
    """
    monkeypatch.setattr(running_batch, "SORT_EVERY", 3)
    monkeypatch.setattr(generation, "SMALL_LAYER", 0)
    policy, rng = subject(kind), np.random.default_rng(0)
    requests = [
        Request(tokens(int(rng.integers(1, 140)), i % 4), int(rng.integers(1, 60)), rule=GREEDY)
        for i in range(120)
    ]
    engine = Engine(policy, slots=70, prefix_cache_rows=2)
    as_plain(policy, requests, engine.run(requests))
    assert engine.batch.cache.block < engine.positions


@pytest.mark.parametrize("window", [0, 4])
def test_a_long_beginning_known_and_a_long_prompt_unknown_are_read_side_by_side(
    window: int,
) -> None:
    """The first is then padded far beyond its end, where a window sees nothing of it."""
    policy = subject({"window": window})
    engine = Engine(policy, slots=3, prefix_cache_rows=1)
    known = Request(tokens(100, 0), 1, rule=GREEDY)
    rows = engine.run([known])
    requests = [
        Request([*known.prompt, *tokens(20, 1)], 30, rule=GREEDY),
        Request(tokens(24, 2), 5, rule=GREEDY),
        Request(tokens(130, 3), 30, rule=GREEDY),
    ]
    as_plain(policy, [known, *requests], rows + engine.run(requests))
    as_plain(policy, requests, engine.run(requests))


def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens are read into the cache, a number for each pass; padding included."""
    sizes: list[int] = []
    extend = GenerationTransformer.extend
    monkeypatch.setattr(
        GenerationTransformer,
        "extend",
        lambda self, t, *rest: (sizes.append(t.numel()), extend(self, t, *rest))[1],
    )
    return sizes


def test_a_common_beginning_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, seen = subject({}), read(monkeypatch)
    beginning = tokens(MIN_PREFIX, 0)
    requests = [Request([*beginning, 2 + i, 5], 3) for i in range(8)]
    as_plain(policy, requests, Engine(policy).run(requests))
    assert seen == [MIN_PREFIX + 2, 7 * 2]
    seen.clear()
    requests = [Request(beginning, 3, sample=i) for i in range(8)]
    as_plain(policy, requests, Engine(policy).run(requests))
    assert seen == [MIN_PREFIX]
    seen.clear()
    # one token too few in common: each is read
    requests = [Request([*beginning[:-1], 3 + i], 3) for i in range(2)]
    as_plain(policy, requests, Engine(policy).run(requests))
    assert sum(seen) == 2 * MIN_PREFIX


def test_the_next_turn_of_a_remembered_row_is_read_from_where_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy, seen = subject({}), read(monkeypatch)
    engine = Engine(policy, slots=2, prefix_cache_rows=2)
    prompt = tokens(20, 0)
    for turn in range(4):
        request = Request(prompt, 7, seed=turn)
        (row,) = engine.run([request])
        as_plain(policy, [request], [row])
        prompt = row.prompt + row.tokens + [3, 4]
    assert seen == [20, 3, 3, 3]  # what was new, and the last token said, which nobody had read
    seen.clear()
    for i in range(2):  # two others push it out
        engine.run([Request(tokens(20, i + 1), 3)])
    engine.run([Request(prompt, 3)])
    assert seen == [20, 20, len(prompt)]


def test_only_the_last_document_of_a_prompt_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention never crosses a border, here token 1. Positions then begin there, and their turns
    are rounded to float32.
    """
    policy, seen = subject({"kv_heads": 1}, border=1), read(monkeypatch)
    requests = [
        Request([*start, 1, *tokens(5, 9)], 20, rule=GREEDY)
        for start in ([], tokens(30, 0), [1, *tokens(9, 1), 1])
    ]
    rows = Engine(policy).run(requests)
    as_plain(policy, requests, rows, 1e-6)
    assert sum(seen) == 6
    assert len({tuple(row.tokens) for row in rows}) == 1
    last = Request([*tokens(5, 9), 1], 20, rule=GREEDY)
    as_plain(policy, [last], Engine(policy).run([last]), 1e-6)
