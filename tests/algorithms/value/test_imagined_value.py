"""Fitted value iteration in an imagined world, held to Bellman's equation in tables that are known,
and to every sequence of an ensemble followed by hand.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from fledge.algorithms.value.imagined_value import imagine_best
from fledge.plan.world_copies import TableDynamics
from fledge.sample.replay import Transitions
from fledge.worlds.hard_to_explore import deep_sea, river_swim
from fledge.worlds.mdp import MDP
from fledge.worlds.world import Choices
from tests.algorithms.value.test_model_predictive import planner
from tests.subjects import seeded

GAMMA = 0.9


def teach(mdp: MDP, value: Tensor, steps: int, candidates: int = 128) -> Tensor:
    """The target of every state, where the value of a state is read off a table.  [S] -> [S]"""
    return imagine_best(
        TableDynamics(mdp), Choices((2,)), torch.arange(mdp.states), steps=steps,
        candidates=candidates, gamma=GAMMA, generator=seeded(steps),
        final=lambda chance: chance @ value,
    ).double()  # fmt: skip


def back_up(mdp: MDP, value: Tensor) -> Tensor:
    """max_a R(s, a) + γ Σ P(s′ | s, a) V(s′)"""
    return (mdp.reward + GAMMA * torch.einsum("ast,t->sa", mdp.dense(), value)).max(1).values


def solve(mdp: MDP) -> Tensor:
    value = torch.zeros(mdp.states, dtype=torch.float64)
    for _ in range(600):  # γ^600 is 4e-28
        value = back_up(mdp, value)
    return value


@pytest.mark.parametrize("mdp", [river_swim(GAMMA), deep_sea(5, GAMMA)], ids=["chance", "none"])
def test_one_step_is_bellmans_backup(mdp: MDP) -> None:
    """128 draws miss one of two actions once in 2^127 times."""
    value = torch.randn(mdp.states, generator=seeded(0), dtype=torch.float64)
    torch.testing.assert_close(teach(mdp, value, 1), back_up(mdp, value), rtol=1e-6, atol=1e-6)


def test_without_chance_several_steps_a_time_come_to_the_optimal_value() -> None:
    """In a sea 5 deep two lessons of three steps are enough, from a value of nothing: only one of
    32 ways leads to what pays.
    """
    mdp = deep_sea(5, GAMMA)
    value = torch.zeros(mdp.states, dtype=torch.float64)
    for _ in range(2):
        value = teach(mdp, value, 3)
    torch.testing.assert_close(value, solve(mdp), rtol=1e-6, atol=1e-6)
    assert value[0] > 0.9**4 - 0.01


def test_with_chance_a_sequence_that_sees_nothing_is_never_worth_more() -> None:
    """Three steps on end, chosen before anything is seen: the best of all eight, and from the
    optimal value never more than that value.
    """
    chance = torch.rand(2, 4, 4, generator=seeded(1), dtype=torch.float64) ** 3
    chance = chance / chance.sum(-1, keepdim=True)
    mdp = MDP(chance, torch.rand(4, 2, generator=seeded(2), dtype=torch.float64), GAMMA)
    optimal = solve(mdp)
    best = torch.full((mdp.states,), -torch.inf, dtype=torch.float64)
    for a, b, c in itertools.product(range(2), repeat=3):
        worth = mdp.reward[:, c] + GAMMA * chance[c] @ optimal
        worth = mdp.reward[:, b] + GAMMA * chance[b] @ worth
        best = torch.maximum(best, mdp.reward[:, a] + GAMMA * chance[a] @ worth)
    said = teach(mdp, optimal, 3, candidates=256)
    torch.testing.assert_close(said, best, rtol=1e-6, atol=1e-6)
    assert (best <= optimal + 1e-12).all()
    assert (best < optimal - 1e-3).any()


def test_an_ensembles_best_sequence_counts_and_not_what_was_done() -> None:
    """Two members that draw nothing, two steps ahead: each of four sequences followed by hand, the
    mean over the members. Other rewards, ends and places after it change no target.
    """
    algorithm, _ = planner(n_step=2, value_candidates=64)
    world, slow = algorithm.foresight.world, algorithm.target_value
    assert world is not None
    assert slow is not None
    seen = torch.randn(2, 40, 4, generator=seeded(2))
    algorithm.foresight.watch(seen[0], torch.rand(40, generator=seeded(3)), seen[1])
    world.sampled = False
    obs, gamma = seen[0, :5], algorithm.settings.gamma

    def follow(first: int, second: int) -> Tensor:
        state, worth, going = obs.expand(2, -1, -1), torch.zeros(2, 5), torch.ones(2, 5)
        for t, action in enumerate((first, second)):
            change = world.changed.unscale(world.foretell(state, torch.full((5,), action)).mean)
            worth = worth + gamma**t * going * change[..., 4]
            state = state + change[..., :4]
            going = going * (1 - torch.sigmoid(world.tell_end(state)))
        beyond = slow.network(algorithm.foresight.scale(state))
        return (worth + gamma**2 * going * beyond).mean(0)

    with torch.no_grad():
        every = torch.stack([follow(a, b) for a, b in itertools.product(range(2), repeat=2)])
    assert (every.max(0).values - every.min(0).values).min() > 1e-3
    for reward, ended, after in ((0.0, False, seen[1, :5]), (7.0, True, seen[1, 5:10])):
        rows = Transitions(
            obs, torch.zeros(5).long(), torch.full((5,), reward), after,
            torch.full((5,), gamma**2), torch.full((5,), ended), torch.ones(5), torch.arange(5),
        )  # fmt: skip
        torch.testing.assert_close(
            algorithm.target(rows), every.max(0).values, rtol=1e-4, atol=1e-5
        )
