"""What best-first search says is proved to be best is, by enumeration."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.sample.best_first import Reward, search_best_first
from fledge.sample.token_search import Searched, SearchPlan
from tests.sample.small_searches import LANGUAGE, STOP, Small


def run(
    small: Small, n_best: int = 1, reward: Reward | None = None, **plan: int
) -> tuple[list[Searched], bool]:
    given: dict[str, Any] = {"simulations": 100, "width": 3, "leaves": 1} | plan
    settings = SearchPlan(**given)
    [done] = search_best_first(
        small.engine(settings.leaves), [[0]], settings, max_new_tokens=3, stop=STOP,
        n_best=n_best, reward=reward,
    )  # fmt: skip
    return done


def rank(score: torch.Tensor, n: int) -> list[tuple[tuple[int, ...], float]]:
    order = score.argsort(descending=True)[:n].tolist()
    return [(LANGUAGE.sequences[i], float(score[i])) for i in order]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n_best", "leaves"), [(1, 1), (1, 3), (4, 2)])
def test_the_likeliest_sequences_are_found_and_proved(seed: int, n_best: int, leaves: int) -> None:
    small = Small(seed, scale=2.0)
    best, proved = run(small, n_best, leaves=leaves)
    assert proved
    for one, (word, score) in zip(best, rank(small.logp, n_best), strict=True):
        assert tuple(one.tokens) == word
        assert one.score == pytest.approx(score, abs=1e-9)
        assert one.stopped == (word[-1] == 2)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_with_a_reward_it_is_the_mode_of_the_optimum(seed: int, beta: float) -> None:
    """The most of log π(y) + r(y)/β: π*(y) ∝ π(y) exp(r(y)/β) is largest there."""
    small = Small(seed)
    best, proved = run(small, 2, Reward(small.judge, beta, most=1.0))
    assert proved
    wanted = rank(small.logp + small.reward / beta, 2)
    assert [tuple(one.tokens) for one in best] == [word for word, _ in wanted]
    assert best[0].score == pytest.approx(wanted[0][1], abs=1e-9)


def test_with_a_narrow_view_what_is_said_to_be_proved_is() -> None:
    """60 languages: of two likeliest tokens after each beginning, and few simulations."""
    sure = 0
    for seed in range(30):
        small = Small(seed, scale=2.0)
        for simulations in (3, 20):
            best, proved = run(small, width=2, simulations=simulations)
            sure += proved
            if proved:
                assert tuple(best[0].tokens) == rank(small.logp, 1)[0][0]
    assert 10 < sure < 60


def test_what_came_to_no_end_is_not_proved() -> None:
    best, proved = run(Small(0), simulations=1, width=1)
    assert not proved
    assert len(best) == 1
    assert best[0].stopped == (2 in best[0].tokens)


def test_without_a_bound_nothing_is_proved() -> None:
    small = Small(3)
    best, proved = run(small, reward=Reward(small.value, 0.1, most=None))
    assert not proved
    assert tuple(best[0].tokens) in LANGUAGE.sequences


def test_only_what_may_still_be_best_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that is nearly sure: the way to its likeliest sequence, and little beside it."""
    small = Small(5, scale=8.0)
    engine = small.engine()
    asked = 0
    whole = engine.run

    def counted(requests, *rest):
        nonlocal asked
        requests = list(requests)
        asked += len(requests)
        return whole(requests, *rest)

    monkeypatch.setattr(engine, "run", counted)
    plan = SearchPlan(100, 3, 1)
    search_best_first(engine, [[0]], plan, max_new_tokens=3, stop=STOP)
    assert asked <= 4 < len(LANGUAGE.prefixes)
