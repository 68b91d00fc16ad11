"""What a learner of rewards from demonstrations is asked, and the equations that its step may
follow: maximum causal entropy in a world of three states and three steps, with a reward for every
state (of two states the counts always differ along one line).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from fledge.exact.mdp import EnumeratedMDP, random_mdp
from fledge.verify.referee.world_question import ACTIONS, HORIZON, Rollout, Update

STATES = 3
COUNTS = "counts of what was shown − those of the policy"
PLANS, PLANS_ON = "it plans with γ", "it plans without a discount"
ACTED, BEYOND = "of the states in which one acts", "the state after the last action counts too"


@dataclass(frozen=True)
class InverseProblem:
    """`logits` [S, A] is who demonstrates, `reward` [S] what is learned."""

    world: EnumeratedMDP
    logits: Tensor
    reward: Tensor
    gamma: float

    @property
    def table(self) -> Tensor:
        return self.reward


def inverse_problem(gamma: float) -> InverseProblem:
    world, logits = random_mdp(STATES, ACTIONS, HORIZON, gamma, seed=7)
    random = torch.Generator().manual_seed(8)
    reward = torch.randn(STATES, dtype=torch.float64, generator=random)
    # The learner holds rewards in float32.
    # Who demonstrates is more decided than the first reward's policy.
    return InverseProblem(world, 3 * logits, (reward * 64).round() / 64, gamma)


def plan_softly(problem: InverseProblem, reward: Tensor, gamma: float) -> Tensor:
    """log π_t(a|s) by Q_t = r + γ P V_{t+1}, V_t = log Σ_a e^Q_t (Ziebart 2010, eq. 9.1 to 9.3).

    reward [S] -> [H, S, A]
    """
    world = problem.world
    value, steps = torch.zeros_like(reward), []
    for _ in range(world.horizon):
        ahead = torch.einsum("asn,n->sa", world.transition, value)
        q = reward[:, None] + gamma * ahead
        value = q.logsumexp(-1)
        steps.append(q - value[:, None])
    return torch.stack(steps[::-1])


def list_demonstrations(problem: InverseProblem) -> Iterator[tuple[Rollout, float]]:
    """Every episode with the state that its last action leads to, once for all actions that go
    through the same states, with its probability: a step learns of states alone.
    """
    world = problem.world
    after = world.transition[world.action[:, -1], world.state[:, -1]]  # [N, S]
    mass: dict[tuple[int, ...], float] = {}
    chances = world.prob(problem.logits)[:, None] * after
    for states, row in zip(world.state.tolist(), chances.tolist(), strict=True):
        for last, chance in enumerate(row):
            mass[*states, last] = mass.get((*states, last), 0.0) + chance
    for states, chance in mass.items():
        yield show_states(states), chance


def show_states(states: tuple[int, ...]) -> Rollout:
    """A demonstration through these states, H + 1 of them."""
    n = len(states) - 1
    ends = (False,) * (n - 1) + (True,)
    return Rollout(states[:-1], (0,) * n, (0.0,) * n, states[1:], ends, (False,) * n)


def inverse_equations(problem: InverseProblem) -> Iterator[tuple[str, Update]]:
    """E_D[Σ γ^t 1{s_t}] − E_π[Σ γ^t 1{s_t}], π's by enumeration of its episodes.  -> [S]"""
    world, gamma = problem.world, problem.gamma
    for (plans, used), beyond in product(((PLANS, gamma), (PLANS_ON, 1.0)), (False, True)):
        logp = plan_softly(problem, problem.reward, used)
        along = logp[torch.arange(world.horizon), world.state, world.action].sum(1)  # [N]
        chance = world.chance * along.exp()
        own = torch.zeros(STATES, dtype=torch.float64)
        for t in range(world.horizon):
            own.index_add_(0, world.state[:, t], chance * gamma**t)
        if beyond:
            after = world.transition[world.action[:, -1], world.state[:, -1]]
            own = own + gamma**world.horizon * (chance[:, None] * after).sum(0)

        def update(rollout: Rollout, own: Tensor = own, beyond: bool = beyond) -> Tensor:
            seen = [*rollout.state, *([rollout.following[-1]] if beyond else [])]
            shown = torch.zeros_like(own)
            for t, state in enumerate(seen):
                shown[state] += gamma**t
            return shown - own

        yield name_inverse(plans, beyond), update


def name_inverse(plans: str = PLANS, beyond: bool = False) -> str:
    return f"{COUNTS}; {BEYOND if beyond else ACTED}; {plans}"


def likelihood_slope(problem: InverseProblem) -> Tensor:
    """∇ of E_D[Σ γ^t log π_t(a_t|s_t)], the likelihood of who demonstrates, through the soft values
    by autograd: it knows no counts.  -> [S]
    """
    world = problem.world
    reward = problem.reward.clone().requires_grad_(True)
    logp = plan_softly(problem, reward, problem.gamma)
    along = logp[torch.arange(world.horizon), world.state, world.action] * world.discount
    total = (world.prob(problem.logits) * along.sum(1)).sum()
    return torch.autograd.grad(total, reward)[0]


def draw_demonstrations(problem: InverseProblem, count: int) -> Iterator[tuple[int, ...]]:
    """The states of so many sampled episodes."""
    every = [(*each.state, each.following[-1]) for each, _ in list_demonstrations(problem)]
    mass = torch.tensor([mass for _, mass in list_demonstrations(problem)])
    random = torch.Generator().manual_seed(17)
    for at in torch.multinomial(mass, count, True, generator=random).tolist():
        yield every[at]
