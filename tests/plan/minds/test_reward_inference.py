"""Rewards out of demonstrations: counts and gradients beside the sum over all trajectories, and
what the recovered rewards earn in random worlds.
"""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.plan.minds.chances import Chances
from fledge.plan.minds.reward_inference import (
    RewardInference,
    act_best,
    discount,
    earn,
    follow_policy,
    solve_causal,
    solve_maximum,
)

S, A, T, GAMMA = 3, 2, 3, 0.9


def make_process(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=random)  # noqa: E731
    return draw(1, A, S, S).softmax(-1), draw(1, S).softmax(-1), draw(1, S)


def list_trajectories(transition: Tensor, start: Tensor):
    """(states, actions, the world's part of the chance) of all there are, in plain numbers."""
    chance, first = transition[0].tolist(), start[0].tolist()
    for states in itertools.product(range(S), repeat=T):
        for actions in itertools.product(range(A), repeat=T):
            p = first[states[0]]
            for t in range(T - 1):
                p *= chance[actions[t]][states[t]][states[t + 1]]
            yield states, actions, p


def plain_policy(transition: Tensor, reward: list[float]) -> Any:
    """log π_t(a|s) of maximum causal entropy, by recursion."""
    chance = transition[0].tolist()

    @cache
    def value(t: int, s: int) -> float:
        return 0.0 if t == T else math.log(sum(math.exp(q(t, s, a)) for a in range(A)))

    def q(t: int, s: int, a: int) -> float:
        return reward[s] + GAMMA * sum(chance[a][s][n] * value(t + 1, n) for n in range(S))

    return lambda t, s, a: q(t, s, a) - value(t, s)


def test_counts_of_causal_entropy_are_sums_over_all_trajectories() -> None:
    transition, start, reward = make_process(1)
    model = solve_causal(Chances(transition), start, reward, T, GAMMA)
    policy = plain_policy(transition, reward[0].tolist())
    counts = [0.0] * S
    for states, actions, p in list_trajectories(transition, start):
        p *= math.exp(sum(policy(t, states[t], actions[t]) for t in range(T)))
        for t in range(T):
            counts[states[t]] += p * GAMMA**t
    assert model.counts(GAMMA)[0].tolist() == pytest.approx(counts, abs=1e-12)


def test_counts_of_maximum_entropy_are_sums_over_all_trajectories() -> None:
    transition, start, reward = make_process(2)
    model = solve_maximum(Chances(transition), start, reward, T, GAMMA)
    log_z, counts = 0.0, [0.0] * S
    for first in range(S):  # each start keeps its chance, and bends what comes after
        every = [
            (states, p * math.exp(worth(states, reward[0].tolist())))
            for states, _, p in list_trajectories(transition, start) if states[0] == first
        ]  # fmt: skip
        total, chance = sum(weight for _, weight in every), float(start[0, first])
        log_z += chance * math.log(total / chance)
        for states, weight in every:
            for t in range(T):
                counts[states[t]] += chance * weight / total * GAMMA**t
    assert float(model.log_partition) == pytest.approx(log_z, abs=1e-12)
    assert model.counts(GAMMA)[0].tolist() == pytest.approx(counts, abs=1e-12)


def worth(states: tuple[int, ...], reward: list[float]) -> float:
    return sum(GAMMA**t * reward[s] for t, s in enumerate(states))


def test_without_chance_both_are_one() -> None:
    transition, start, reward = make_process(5)
    fixed = torch.nn.functional.one_hot(transition.argmax(-1), S).double()
    chances = Chances(fixed)
    one, other = (solve(chances, start, reward, 5) for solve in (solve_causal, solve_maximum))
    assert torch.allclose(one.visits, other.visits, atol=1e-12)
    assert torch.allclose(one.log_policy, other.log_policy, atol=1e-12)


@pytest.mark.parametrize("kind", ["causal", "maximum"])
def test_the_gradient_is_that_of_the_likelihood_of_an_expert(kind: Any) -> None:
    """Of all trajectories, each as likely as an expert of its own policy makes it; by central
    differences of what is written down here.
    """
    transition, start, _ = make_process(3)
    random = torch.Generator().manual_seed(4)
    expert = torch.randn(1, T, S, A, dtype=torch.float64, generator=random).softmax(-1)
    features = torch.randn(1, S, 2, dtype=torch.float64, generator=random)
    visits = follow_policy(transition, start, expert)
    wanted = torch.einsum("wsf,ws->wf", features, discount(visits, GAMMA))
    inference = RewardInference(
        transition, start, features, wanted, T, kind=kind, gamma=GAMMA, penalty=0.0
    )
    inference.weight += torch.tensor([[0.3, -0.8]], dtype=torch.float64)
    inference.model = inference.solve()
    every = []
    for states, actions, p in list_trajectories(transition, start):
        for t in range(T):
            p *= float(expert[0, t, states[t], actions[t]])
        every.append((states, actions, p))

    def likelihood(weight: Tensor) -> float:
        r = (features[0] @ weight).tolist()
        if kind == "causal":
            policy = plain_policy(transition, r)
            return sum(
                p * sum(GAMMA**t * policy(t, s[t], a[t]) for t in range(T)) for s, a, p in every
            )
        log_z = 0.0
        for first in range(S):
            chance = float(start[0, first])
            listed = list_trajectories(transition, start)
            total = sum(p * math.exp(worth(s, r)) for s, _, p in listed if s[0] == first)
            log_z += chance * math.log(total / chance)
        return sum(p * worth(s, r) for s, _, p in every) - log_z

    for f in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[f] = 1e-5
        here = inference.weight[0]
        slope = (likelihood(here + step) - likelihood(here - step)) / 2e-5
        assert float(inference.gradient()[0, f]) == pytest.approx(slope, abs=1e-8)


def make_worlds(worlds: int, side: int, slip: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Open grids whose places pay what chance gave a tenth of them."""
    random = torch.Generator().manual_seed(seed)
    places = side * side
    transition = torch.zeros(4, places, places, dtype=torch.float64)
    for s in range(places):
        i, j = divmod(s, side)
        ends = [(i - 1, j), (i, j + 1), (i + 1, j), (i, j - 1)]
        there = [x * side + y if 0 <= x < side and 0 <= y < side else s for x, y in ends]
        for a in range(4):
            transition[a, s, there[a]] += 1 - slip
            for end in there:
                transition[a, s, end] += slip / 4
    pays = torch.rand(worlds, places, dtype=torch.float64, generator=random) < 0.1
    worth = torch.rand(worlds, places, dtype=torch.float64, generator=random)
    start = torch.full((worlds, places), 1 / places, dtype=torch.float64)
    return transition.expand(worlds, -1, -1, -1), start, pays * worth


@pytest.mark.parametrize("worlds", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_a_recovered_reward_earns_what_the_expert_earns(worlds: int) -> None:
    """In random 10 × 10 worlds, of the expert's own expected counts: its best policy earns 99 %."""
    transition, start, reward = make_worlds(worlds, 10, 0.2, seed=5)
    steps, places = 25, 100
    best = act_best(transition, reward, steps)
    value = torch.zeros_like(reward)
    for _ in range(steps):  # Bellman, written once more
        value = reward + torch.einsum("wast,wt->was", transition, value).max(1).values
    most = (start * value).sum(-1)
    torch.testing.assert_close(earn(transition, start, best, reward), most, rtol=1e-9, atol=1e-12)
    expert = follow_policy(transition, start, best)
    features = torch.eye(places, dtype=torch.float64).expand(worlds, -1, -1)
    inference = RewardInference(
        transition, start, features, discount(expert, 1.0), steps, learning_rate=0.3, penalty=1e-4
    )
    apart = [inference.update() for _ in range(120)]
    assert apart[-1] < apart[0] / 5
    policy = act_best(transition, inference.reward, steps)
    pays = reward.sum(-1) > 0  # a world in which nothing pays has nothing to recover
    earned = earn(transition, start, policy, reward)[pays]
    share = earned / most[pays]
    assert len(share) >= 0.9 * worlds
    assert share.min() > 0.99, share
