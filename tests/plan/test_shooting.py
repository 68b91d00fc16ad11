"""Planners beside what linear algebra and enumeration say: the top of a hill, Riccati's controller,
value iteration's action.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.control.imagined import Imagined
from fledge.plan.bellman import action_values
from fledge.plan.dynamic_programming import value_iteration
from fledge.plan.looking_ahead import LookingAhead
from fledge.plan.proposals import ChoiceProposal, NumberProposal, Proposal, propose_anything
from fledge.plan.rolling_out import roll_out
from fledge.plan.shooting import CrossEntropy, PathIntegral, Search, Slope, Worth
from fledge.plan.world_copies import TableDynamics
from fledge.worlds.mdp import MDP
from fledge.worlds.world import Box, Choices
from tests.plan.processes import random_process
from tests.subjects import seeded

OF_NUMBERS: dict[str, Search] = {
    "cem": CrossEntropy(candidates=200, kept=20, rounds=30),
    "mppi": PathIntegral(candidates=400, rounds=40, temperature=0.3),
    "gradient": Slope(candidates=4, rounds=200),
}
OF_CHOICES: dict[str, Search] = {
    "shooting": CrossEntropy(candidates=600, kept=1, rounds=1),
    "cem": CrossEntropy(candidates=100, kept=10, rounds=6),
    "mppi": PathIntegral(candidates=200, rounds=8, temperature=0.2),
}


def numbers(mean: Tensor, spread: float, far: float) -> NumberProposal:
    ends = torch.full((mean.shape[-1],), far, dtype=mean.dtype)
    return NumberProposal(mean, torch.full_like(mean, spread), -ends, ends)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_the_top_of_a_hill_is_found(name: str) -> None:
    """−(a − top)ᵀ C (a − top) with C of condition 10, two situations at once whose tops differ;
    within 0.03 of bounds 2 apart.
    """
    random = seeded(1)
    turned, _ = torch.linalg.qr(torch.randn(4, 4, generator=random, dtype=torch.float64))
    steep = turned @ torch.diag(torch.tensor([1.0, 3, 5, 10]).double()) @ turned.T
    top = 1.2 * torch.rand(2, 4, generator=random, dtype=torch.float64) - 0.6

    def worth(sequences: Tensor) -> Tensor:
        off = sequences.flatten(2) - top[:, None]
        return -torch.einsum("bni,ij,bnj->bn", off, steep, off)

    spread = 0.1 if name == "mppi" else 0.5
    open_ = numbers(torch.zeros(2, 2, 2, dtype=torch.float64), spread, 1.0)
    plan = OF_NUMBERS[name](open_, worth, seeded(0))
    assert (plan.sequence.flatten(1) - top).abs().max() < 0.03


A = torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=torch.float64)
B = torch.tensor([[0.0], [0.1]], dtype=torch.float64)
Q, R, H = torch.diag(torch.tensor([1.0, 0.1]).double()), 0.05, 10


class Linear:
    """s′ = A s + B a, which costs sᵀQs + R a² before the step."""

    def begin(self, obs: Tensor, candidates: int) -> Tensor:
        return obs.repeat_interleave(candidates, 0)

    def step(self, state: Tensor, action: Tensor, generator: torch.Generator) -> Imagined:
        cost = torch.einsum("ri,ij,rj->r", state, Q, state) + R * action.square().sum(1)
        return Imagined(state @ A.T + action @ B.T, -cost[None], torch.ones_like(cost)[None])

    def observe(self, state: Tensor) -> Tensor:
        return state[None]


def riccati() -> tuple[np.ndarray, np.ndarray]:
    """The gain of the first of H steps and its cost-to-go matrix, with a final cost of Q: backwards
    from the end (Bertsekas 2017, section 3.1).
    """
    a, b, q = A.numpy(), B.numpy(), Q.numpy()
    cost, gain = q, np.zeros((1, 2))
    for _ in range(H):
        gain = np.linalg.solve(b.T @ cost @ b + R, b.T @ cost @ a)
        cost = q + a.T @ cost @ a - a.T @ cost @ b @ gain
    return gain, cost


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_linear_world_is_controlled_as_riccati_says(name: str) -> None:
    """The first action within 0.05 of −K s, and the plan's worth within 0.1 % of −sᵀ P s, from two
    states at once, with a terminal value of −sᵀ Q s.
    """
    gain, cost = riccati()
    obs = torch.tensor([[0.5, 0.0], [-0.3, 0.8]], dtype=torch.float64)
    final = lambda seen: -torch.einsum("mri,ij,mrj->mr", seen, Q, seen)  # noqa: E731

    def worth(sequences: Tensor) -> Tensor:
        return roll_out(Linear(), obs, sequences, 1.0, seeded(5), final)

    spread = 0.15 if name == "mppi" else 1.5
    open_ = numbers(torch.zeros(2, H, 1, dtype=torch.float64), spread, 6.0)
    plan = OF_NUMBERS[name](open_, worth, seeded(0))
    expected = -obs.numpy() @ gain.T
    assert np.abs(plan.sequence[:, 0].numpy() - expected).max() < 0.05
    best = -np.einsum("bi,ij,bj->b", obs.numpy(), cost, obs.numpy())
    np.testing.assert_allclose(worth(plan.sequence[:, None])[:, 0].numpy(), best, rtol=1e-3)


def deterministic(states: int, seed: int) -> MDP:
    random = np.random.default_rng(seed)
    chance = np.eye(states)[random.integers(states, size=(3, states))]
    return MDP(torch.tensor(chance), torch.tensor(random.normal(size=(states, 3))), 0.9)


def unique(mdp: MDP) -> tuple[Tensor, Tensor, Tensor]:
    """V*, the best actions, and where the second best is worse by a fiftieth of what
    rewards differ by, or more.
    """
    solved = value_iteration(mdp)
    best = action_values(mdp, solved.value).topk(2, 1).values
    return (
        solved.value,
        solved.policy,
        (best[:, 0] - best[:, 1] > 0.02 * mdp.reward.std()) & ~mdp.terminal,
    )


@pytest.mark.parametrize("name", OF_CHOICES)
@pytest.mark.parametrize("seed", range(3))
def test_in_the_true_world_the_action_is_value_iterations_wherever_it_is_unique(
    name: str, seed: int
) -> None:
    """Twelve states where nothing is by chance, all planned for at once, four steps ahead and V*
    beyond: 81 sequences. And where something is, one step ahead, whose worth is an expectation.
    """
    for mdp, horizon in (
        (deterministic(12, seed), 4),
        (random_process(12, 3, 0.9, ends=1, share=0.4, seed=seed), 1),
    ):
        value, policy, sure = unique(mdp)
        assert sure.sum() >= 6
        open_ = propose_anything(Choices((3,)), mdp.states, horizon)
        plan = OF_CHOICES[name](open_, worth_in(mdp, value), seeded(2))
        assert torch.equal(plan.sequence[:, 0][sure], policy[sure])


def worth_in(mdp: MDP, value: Tensor) -> Worth:
    """From every state at once, with a terminal value."""
    dynamics, states = TableDynamics(mdp), torch.arange(mdp.states)

    def worth(sequences: Tensor) -> Tensor:
        return roll_out(
            dynamics, states, sequences, mdp.gamma, seeded(9), lambda chance: chance @ value
        )

    return worth


def test_the_worth_of_a_sequence_is_an_expectation_over_every_way() -> None:
    """Three states, three steps: every path written down."""
    mdp = random_process(3, 2, 0.8, ends=1, share=0.9, seed=5)
    chance, reward = mdp.dense(), mdp.reward
    beyond = torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64)
    sequences = torch.tensor([[[0, 1, 1], [1, 0, 1]]])
    said = roll_out(
        TableDynamics(mdp), torch.tensor([0]), sequences, 0.8, seeded(0), lambda b: b @ beyond
    )
    for sequence, worth in zip(sequences[0].tolist(), said[0].tolist(), strict=True):
        expected = 0.0
        for path in itertools.product(range(3), repeat=3):
            state, likely, paid = 0, 1.0, 0.0
            for t, (action, after) in enumerate(zip(sequence, path, strict=True)):
                paid += 0.8**t * float(reward[state, action])
                likely *= float(chance[action, state, after])
                state = after
            expected += likely * (paid + 0.8**3 * float(beyond[state]))
        assert worth == pytest.approx(expected, rel=1e-12)


class Doomed:
    """Two worlds that are thought possible; each step pays 1, and the second ends with chance ½."""

    def begin(self, obs: Tensor, candidates: int) -> Tensor:
        return torch.zeros(len(obs) * candidates)

    def step(self, state: Tensor, action: Tensor, generator: torch.Generator) -> Imagined:
        ones = torch.ones(2, len(state))
        return Imagined(state, ones, ones * torch.tensor([[1.0], [0.5]]))

    def observe(self, state: Tensor) -> Tensor:
        return state.expand(2, -1)


def test_what_comes_after_an_end_counts_as_often_as_there_is_none() -> None:
    """γ = ½, two steps, 8 beyond: 1 + ½ + 2 in one world, 1 + ¼ + ½ in the other; their mean."""
    said = roll_out(
        Doomed(), torch.zeros(1, 1), torch.zeros(1, 3, 2, dtype=torch.long), 0.5, seeded(0),
        lambda seen: torch.full_like(seen, 8.0),
    )  # fmt: skip
    assert said.tolist() == [[pytest.approx((3.5 + 1.75) / 2)] * 3]


def test_what_is_no_slope_is_said() -> None:
    flat = lambda sequences: torch.zeros(sequences.shape[:2])  # noqa: E731
    with pytest.raises(UserError, match="none between choices"):
        Slope()(propose_anything(Choices((2,)), 1, 3), flat, seeded(0))
    with pytest.raises(UserError, match="copies, which have none"):
        Slope()(propose_anything(Box(-torch.ones(1), torch.ones(1)), 1, 3), flat, seeded(0))
    with pytest.raises(UserError, match="no bounds"):
        propose_anything(Box(-torch.ones(1) * torch.inf, torch.ones(1)), 1, 3)
    with pytest.raises(UserError, match="several choices"):
        propose_anything(Choices((2, 2)), 1, 3)


@pytest.mark.parametrize("action", [Choices((3,)), Box(-torch.ones(2), torch.ones(2))])
def test_the_next_plan_begins_where_the_last_one_leads(action: Any) -> None:
    """It is shifted by a step, open in a copy that begins anew, and the same after a stop."""
    plans: list[Proposal] = []

    def search(proposal: Proposal, worth: Any, generator: torch.Generator) -> Any:
        plans.append(proposal)
        return CrossEntropy(8, 2, 1)(proposal, worth, generator)

    worth = lambda obs, sequences, generator: sequences.flatten(2).double().sum(2)  # noqa: E731
    looking, other = (LookingAhead(action, search, worth, 3) for _ in range(2))
    obs, random = torch.zeros(2, 1), seeded(0)
    first = looking.act(obs, random)
    assert first.shape == (2, *action.shape)
    looking.begin_anew(torch.tensor([False, True]))
    other.load_state_dict(looking.state_dict())
    place = random.get_state()
    again = looking.act(obs, random)
    random.set_state(place)
    assert torch.equal(other.act(obs, random), again)
    open_, moved = plans[0], plans[1]
    if isinstance(moved, ChoiceProposal):
        assert isinstance(open_, ChoiceProposal)
        assert torch.equal(moved.chance[1], open_.chance[1])
        assert not torch.equal(moved.chance[0, :2], open_.chance[0, :2])
        assert torch.equal(moved.chance[0, 2], open_.chance[0, 2])
    else:
        assert isinstance(open_, NumberProposal)
        assert torch.equal(moved.mean[1], open_.mean[1])
        assert not torch.equal(moved.mean[0, :2], open_.mean[0, :2])
        assert torch.equal(moved.mean[0, 2], open_.mean[0, 2])
