"""A tree search over tokens does what PUCT says, finds the best sequence, and reads no prompt
twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fledge.engine import running_batch
from fledge.errors import UserError
from fledge.exact.enumerable import optimum
from fledge.log_prob import Decoding
from fledge.plan.token_tree import weigh_by_visits, weigh_by_worth
from fledge.policy import TokenPolicy
from fledge.sample.token_search import SearchPlan, make_search_engine, search_tokens
from tests.sample.small_searches import LANGUAGE, STOP, Small, search_by_dictionaries
from tests.subjects import transformer


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("simulations", [7, 60])
def test_visits_are_those_of_puct_by_dictionaries(seed: int, simulations: int) -> None:
    small = Small(seed)
    searched = small.search(small.value, simulations=simulations, rollouts=False, exploration=0.8)
    wanted = search_by_dictionaries(small.logits, small.expect, simulations, 0.8)
    total = sum(n for path, n in wanted.items() if len(path) == 1)
    shares = weigh_by_visits(searched.tree)
    assert shares.keys() == wanted.keys()
    for path, n in wanted.items():
        assert shares[path] == pytest.approx(n / total), path


@pytest.mark.parametrize("seed", range(4))
def test_leaves_of_the_likeliest_tokens_are_worth_what_those_earn(seed: int) -> None:
    """The visits are those of PUCT by dictionaries that follow the likeliest symbol, and the first
    look is the model's greedy answer.
    """
    small = Small(seed)

    def follow(prefix: tuple[int, ...]) -> tuple[int, ...]:
        while prefix not in small.by_word:
            prefix = (*prefix, int(small.logits[LANGUAGE.prefixes.index(prefix)].argmax()))
        return prefix

    searched = small.search(simulations=40, greedy=True, exploration=0.8)
    wanted = search_by_dictionaries(
        small.logits, lambda prefix: small.by_word[follow(prefix)], 40, 0.8
    )
    shares = weigh_by_visits(searched.tree)
    assert {path: pytest.approx(n / 39) for path, n in wanted.items()} == shares
    assert searched.first is not None
    assert tuple(searched.first.tokens) == follow(())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rollouts", [True, False])
def test_the_best_sequence_is_found(seed: int, rollouts: bool) -> None:
    """Whose reward is the highest of all, by enumeration."""
    small = Small(seed, scale=0.5)
    worth = small.judge if rollouts else small.value
    searched = small.search(worth, simulations=400, rollouts=rollouts, exploration=4.0)
    assert tuple(searched.best[0].tokens) == small.best
    assert searched.best[0].score == pytest.approx(small.by_word[small.best])
    assert [one.score for one in searched.best] == sorted(
        (one.score for one in searched.best), reverse=True
    )


@pytest.mark.parametrize("seed", range(3))
def test_what_visits_earn_comes_to_the_most_that_there_is(seed: int) -> None:
    """E[r] of who follows visit shares, beside the highest reward of all sequences."""
    small = Small(seed, scale=0.5)
    tree = small.search(small.value, simulations=8000, rollouts=False, exploration=1.0).tree
    shares = weigh_by_visits(tree)
    ends = {word: share for word, share in shares.items() if word in small.by_word}
    earned = sum(share * small.by_word[word] for word, share in ends.items()) / sum(ends.values())
    assert earned > small.by_word[small.best] - 0.05
    assert small.expect(()) < small.by_word[small.best] - 0.2  # what the policy itself earns


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_of_an_exhausted_tree_the_soft_target_is_the_optimum(seed: int, beta: float) -> None:
    """π*(y) ∝ π(y) exp(r(y)/β), written down; every prefix has what its sequences have."""
    small = Small(seed, scale=0.3)
    tree = small.search(simulations=400, rollouts=True, exploration=1e4).tree
    shares = weigh_by_worth(tree, beta)
    best = optimum(small.reward, small.logp, beta).exp().tolist()
    for word, p in zip(LANGUAGE.sequences, best, strict=True):
        assert shares[word] == pytest.approx(p, abs=1e-9), word
    for prefix in LANGUAGE.prefixes[1:]:
        below = [
            p
            for word, p in zip(LANGUAGE.sequences, best, strict=True)
            if word[: len(prefix)] == prefix
        ]
        assert shares[prefix] == pytest.approx(sum(below), abs=1e-9), prefix


@pytest.mark.parametrize("leaves", [1, 4])
def test_nothing_is_pending_in_the_end_and_every_look_is_counted(leaves: int) -> None:
    tree = Small(2).search(simulations=101, leaves=leaves).tree
    assert tree.visits == 101
    for node in tree.nodes():
        assert not np.any(node.pending)
        for edge, child in node.below.items():
            own = 0 if child.ended else 1
            came = float(child.visits.sum())
            if not child.ended:
                assert node.visits[edge] == own + came
    assert tree.root.visits.sum() == 100  # the first look opened the root


def test_rollouts_are_what_the_policy_says() -> None:
    """4,000 of the first answers, by different seeds, beside the sequence's probabilities: χ² of 15
    classes below its 1 − 10⁻⁴ quantile of 14 degrees of freedom, 42.6.
    """
    small = Small(1)
    engine = make_search_engine(small.policy, [[0]] * 500, 3, 1)
    counts = dict.fromkeys(LANGUAGE.sequences, 0)
    for seed in range(8):
        for one in search_tokens(
            engine, [[0]] * 500, small.judge, SearchPlan(1, 3, 1), max_new_tokens=3, stop=STOP,
            seed=seed,
        ):  # fmt: skip
            assert one.first is not None
            counts[tuple(one.first.tokens)] += 1
            assert one.first.logp == pytest.approx(one.first.raw_logp)
    wanted = 4000 * small.logp.exp()
    seen = torch.tensor([counts[word] for word in LANGUAGE.sequences])
    assert float(((seen - wanted).square() / wanted).sum()) < 42.6


def test_a_prompts_tokens_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two prompts of 20 and 24 tokens: after the first look, only what was said is read."""
    policy = TokenPolicy(transformer(context=40))
    prompts = [[2 + i % 7 for i in range(20)], [3 + i % 5 for i in range(24)]]
    reads: list[tuple[int, int]] = []  # from where to where
    whole = running_batch.prefill

    def watched(network: object, cache: object, rows: list, starts: list, *rest: object):
        reads.extend((start, len(row)) for row, start in zip(rows, starts, strict=True))
        return whole(network, cache, rows, starts, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(running_batch, "prefill", watched)
    engine = make_search_engine(policy, prompts, 6, 2)
    done = search_tokens(
        engine, prompts, lambda places, said: [float(sum(one.tokens)) for one in said],
        SearchPlan(30, 4, 2), max_new_tokens=6, stop=frozenset({0}), seed=1,
    )  # fmt: skip
    assert [one.tree.visits for one in done] == [30, 30]
    assert sorted(reads)[:2] == [(0, 20), (0, 24)]
    assert len(reads) > 20
    assert all(start >= 20 for start, _ in sorted(reads)[2:])
    assert engine.batch.tokens_read == sum(end - start for start, end in reads)


def test_searches_side_by_side_are_those_of_each_alone() -> None:
    policy = TokenPolicy(transformer(dtype=torch.float64))
    prompts = [[2, 3], [5], [4, 4, 6]]

    def worth(places: Any, said: Any) -> list[float]:
        return [float(one.tokens[0] % 3 - 0.1 * len(one.tokens)) for one in said]

    plan = SearchPlan(12, 5, 2)
    settings: dict[str, Any] = {"max_new_tokens": 5, "stop": frozenset({0}), "seed": 3}
    together = search_tokens(
        make_search_engine(policy, prompts, 5, 2), prompts, worth, plan, **settings
    )
    for i, prompt in enumerate(prompts):
        [alone] = search_tokens(
            make_search_engine(policy, [prompt], 5, 2), [prompt], worth, plan, numbers=[i],
            **settings,
        )  # fmt: skip
        assert weigh_by_visits(alone.tree) == weigh_by_visits(together[i].tree)
        assert [one.tokens for one in alone.best] == [one.tokens for one in together[i].best]


def test_a_rule_that_changes_probabilities_is_refused() -> None:
    with pytest.raises(UserError, match="goes by the model itself"):
        make_search_engine(TokenPolicy(transformer(), rule=Decoding(0.5)), [[2]], 4, 1)
