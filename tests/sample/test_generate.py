"""The token engine says, for every row, what the row would say alone and without a cache; whoever
its neighbours are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.engine.generation import GenerationTransformer
from fledge.errors import UserError
from fledge.log_prob import Decoding
from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy
from fledge.sample.generate import Completion, generate
from tests.subjects import policy_of, seeded, transformer

STOP = 2
SAMPLED = Decoding(temperature=1.3, top_k=7, top_p=0.95)


def without_cache(
    policy: TokenPolicy, prompt: list[int], room: int, uniform: torch.Tensor
) -> Completion:
    """One row, the whole of it read again for every token, drawn by walking along the
    probabilities.
    """
    tokens: list[int] = []
    logp: list[float] = []
    for u in uniform[:room].tolist():
        with torch.no_grad():
            logits = policy.logits(policy.network(torch.tensor([prompt + tokens]))[:, -1])[
                0
            ].double()
        p = logits.softmax(0)
        if policy.rule.greedy:
            token, chance = int(logits.argmax()), 0.0
        else:
            below, token = 0.0, 0
            while below + p[token] <= u * p.sum():
                below += float(p[token])
                token += 1
            chance = float(p[token].log())
        tokens.append(token)
        logp.append(chance)
        if token == STOP:
            break
    return Completion(prompt, tokens, logp, "stop" if tokens[-1] == STOP else "length")


def same(completion: Completion, expected: Completion) -> None:
    assert (completion.prompt, completion.tokens, completion.ended) == (
        expected.prompt,
        expected.tokens,
        expected.ended,
    )
    assert completion.logp == pytest.approx(expected.logp, abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(
        [{"kv_heads": 4}, {"kv_heads": 1}, {"kv_heads": 2, "qk_norm": True, "tied": False}]
    ),
    st.lists(st.integers(1, 15), min_size=1, max_size=6),
    st.integers(1, 3),
    st.integers(1, 20),
    st.sampled_from([SAMPLED, Decoding(), Decoding(temperature=0)]),
    st.integers(0, 999),
)
def test_every_row_says_what_it_says_alone_without_a_cache(
    kind: dict[str, Any],
    lengths: list[int],
    samples: int,
    max_new_tokens: int,
    rule: Decoding,
    seed: int,
) -> None:
    """Prompts of any lengths in a context of 16: rows run out of room, stop and move slots at
    different times.
    """
    network: Transformer = transformer(dtype=torch.float64, context=16, **kind)
    policy = policy_of(network, rule=rule)
    prompts = [
        torch.randint(0, 11, (n,), generator=seeded(seed + i)).tolist()
        for i, n in enumerate(lengths)
    ]
    completions = generate(
        policy,
        prompts,
        max_new_tokens=max_new_tokens,
        stop=STOP,
        samples=samples,
        generator=seeded(seed),
    )
    key = int(torch.randint(2**62, (), generator=seeded(seed)))
    rows = [prompt for prompt in prompts for _ in range(samples)]
    uniform = [
        torch.from_numpy(
            np.random.Generator(np.random.Philox(key=[key, row])).random(max_new_tokens)
        )
        for row in range(len(rows))
    ]
    assert len(completions) == len(rows)
    for completion, prompt, numbers in zip(completions, rows, uniform, strict=True):
        same(
            completion,
            without_cache(policy, prompt, min(max_new_tokens, 16 - len(prompt)), numbers),
        )


def test_what_a_row_says_is_scored_the_same_by_the_trainer() -> None:
    policy = policy_of(transformer(), rule=SAMPLED)
    prompts = [[1, 4, 5], [1], [1, 6]]
    for completion in generate(
        policy, prompts, max_new_tokens=12, stop=STOP, samples=8, generator=seeded(0)
    ):
        row = torch.tensor([completion.prompt + completion.tokens])
        logp = policy.log_prob(row, row[:, 1:])[0, len(completion.prompt) - 1 :]
        assert completion.logp == pytest.approx(logp.tolist(), abs=1e-5)


def test_the_stop_token_is_said_and_is_the_last() -> None:
    policy = policy_of(transformer())
    completions = generate(
        policy, [[1]], max_new_tokens=10, stop=STOP, samples=64, generator=seeded(0)
    )
    assert {completion.stopped for completion in completions} == {True, False}
    for completion in completions:
        assert completion.stopped == (completion.tokens[-1] == STOP)
        assert STOP not in completion.tokens[:-1]
        assert len(completion.tokens) == len(completion.logp)
        assert completion.stopped or len(completion.tokens) == 10


def test_tokens_that_are_no_actions_are_never_said() -> None:
    policy = policy_of(transformer())
    said = {
        t
        for c in generate(
            policy, [[1]], max_new_tokens=20, stop=STOP, samples=100, generator=seeded(0)
        )
        for t in c.tokens
    }
    assert said == set(range(2, 11))


def test_the_same_generator_says_the_same_and_is_left_where_it_was_used_up() -> None:
    policy = policy_of(transformer())
    generator = seeded(5)
    first = generate(policy, [[1]], max_new_tokens=8, stop=STOP, samples=4, generator=generator)
    second = generate(policy, [[1]], max_new_tokens=8, stop=STOP, samples=4, generator=generator)
    assert first != second
    assert (
        generate(policy, [[1]], max_new_tokens=8, stop=STOP, samples=4, generator=seeded(5))
        == first
    )


def test_finished_rows_cost_nothing_further(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(transformer())
    rows: list[int] = []
    step = GenerationTransformer.step
    monkeypatch.setattr(
        GenerationTransformer,
        "step",
        lambda self, tokens, *rest: (rows.append(len(tokens)), step(self, tokens, *rest))[1],
    )
    completions = generate(
        policy, [[1]], max_new_tokens=10, stop=STOP, samples=32, generator=seeded(0)
    )
    # A token is one row of one forward pass; the first of each row comes from the prompt's.
    assert sum(rows) == sum(len(completion.tokens) - 1 for completion in completions)
    assert rows == sorted(rows, reverse=True)


def test_tokens_are_announced_as_they_come() -> None:
    policy = policy_of(transformer())
    heard: dict[int, list[int]] = {0: [], 1: []}
    completions = generate(
        policy,
        [[1], [1, 5]],
        max_new_tokens=9,
        stop=STOP,
        generator=seeded(1),
        on_token=lambda row, token: heard[row].append(token),
    )
    assert [heard[0], heard[1]] == [completion.tokens for completion in completions]


def test_the_policy_is_left_in_the_mode_it_was_in() -> None:
    for training in (True, False):
        policy = policy_of(transformer()).train(training)
        generate(policy, [[1]], max_new_tokens=2, stop=STOP)
        assert policy.training is training


def test_prompts_that_cannot_be_continued_are_refused() -> None:
    policy = policy_of(transformer(context=8))
    with pytest.raises(UserError, match="prompt 1: the prompt is empty"):
        generate(policy, [[1], []], max_new_tokens=2, stop=STOP)
    with pytest.raises(UserError, match=r"prompt 0: .*8 tokens.*context is 8"):
        generate(policy, [[1] * 8], max_new_tokens=2, stop=STOP)
    with pytest.raises(UserError, match="max_new_tokens=0"):
        generate(policy, [[1]], max_new_tokens=0, stop=STOP)
