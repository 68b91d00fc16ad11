"""Actors of continuous actions, TD3 and SAC: the question, and the equations that their updates may
follow, by autograd on the formulas of the papers.

Critics are linear in a one-hot state and the action, an actor is a number a state (its tanh is the
action), and for SAC a logarithm of a standard deviation beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from fledge.exact.mdp import EnumeratedMDP
from fledge.verify.referee.world_equations import BOOTSTRAPS, ENDS
from fledge.verify.referee.world_question import HORIZON, STATES, Rollout, Update, random_world

DONE = (-0.5, 0.6)  # the two actions of a rollout
SEED = 12  # of the noise, the trainer's and the formulas'
SMALL = 1e-6  # beside 1 − a², as Haarnoja's code has it


@dataclass(frozen=True)
class ContinuousProblem:
    """The flat table: two critics [2, S + 1], the actor [S], for SAC its log standard deviation."""

    world: EnumeratedMDP
    critics: Tensor  # [2, S + 1]
    actor: Tensor  # [S] or [2·S]
    targets: Tensor  # [2, S + 1]
    target_actor: Tensor  # [S]
    gamma: float
    alpha: float  # weight of the entropy, SAC's
    noise: float  # standard deviation of TD3's target noise

    @property
    def table(self) -> Tensor:
        return torch.cat([self.critics.flatten(), self.actor])


def continuous_problem(sac: bool, gamma: float, alpha: float, noise: float) -> ContinuousProblem:
    random = torch.Generator().manual_seed(21)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, dtype=torch.float64, generator=random)

    critics, actor = draw(2, STATES + 1), 0.5 * draw(STATES)
    targets, target_actor = critics + 0.3 * draw(2, STATES + 1), actor + 0.3 * draw(STATES)
    if sac:
        actor = torch.cat([actor, 0.3 * draw(STATES) - 0.5])
    world, _ = random_world(gamma)
    assert world.horizon == HORIZON
    return ContinuousProblem(world, critics, actor, targets, target_actor, gamma, alpha, noise)


def judge(critics: Tensor, state: Tensor, action: Tensor) -> Tensor:
    """Q of both critics.  [2, S + 1], [n], [n] -> [2, n]"""
    return critics[:, :STATES][:, state] + critics[:, STATES:] * action


def speak(actor: Tensor, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """SAC's action and its log-probability (Haarnoja et al. 2018, eq. 21).

    actor [2·S], state and noise [n] -> [n] twice
    """
    mean, spread = actor[:STATES][state], actor[STATES:][state].exp()
    raw = mean + spread * noise
    action = raw.tanh()
    logp = -0.5 * noise.square() - spread.log() - 0.5 * math.log(2 * math.pi)
    return action, logp - (1 - action.square() + SMALL).log()


LOOKS: dict[str, Callable[[Tensor], Tensor]] = {
    "min Q′": lambda q: q.min(0).values,
    "Q′₁": lambda q: q[0],
    "mean Q′": lambda q: q.mean(0),
}


def critic_equations(p: ContinuousProblem) -> Iterator[tuple[str, Update]]:
    """Half the squared distance of both critics from y.  -> [2·(S + 1)]"""
    sac = len(p.actor) > STATES
    for cut, look, entropy in product(
        (BOOTSTRAPS, ENDS), LOOKS, (True, False) if sac else (False,)
    ):

        def update(rollout: Rollout, given: tuple[str, str, bool] = (cut, look, entropy)) -> Tensor:
            state, action, following, reward, over, cut_off = read_rollout(rollout)
            _, second = draw_noise(len(state))
            if sac:
                ahead, logp = speak(p.actor, following, second)
            else:
                first = draw_smoothing(len(state), p.noise)
                ahead, logp = (p.target_actor[following].tanh() + first).clamp(-1, 1), None
            worth = LOOKS[given[1]](judge(p.targets, following, ahead))
            if given[2] and logp is not None:
                worth = worth - p.alpha * logp
            stops = over | cut_off if given[0] == ENDS else over
            goal = reward + p.gamma * worth * ~stops
            table = p.critics.clone().requires_grad_(True)
            loss = 0.5 * (judge(table, state, action) - goal).square().mean(1).sum()
            return -torch.autograd.grad(loss, table)[0].flatten()

        yield name_critic(look, entropy, cut), update


def name_critic(look: str, entropy: bool, cut: str = BOOTSTRAPS) -> str:
    goal = f"r + γ·({look} − α·log π)" if entropy else f"r + γ·{look}"
    return f"½(Q₁ − y)² + ½(Q₂ − y)², y = {goal}; {cut}"


def actor_equations(p: ContinuousProblem) -> Iterator[tuple[str, Update]]:
    """What the actor climbs, through its action.  -> [S] or [2·S]"""
    sac = len(p.actor) > STATES
    goals: dict[str, Callable[[Tensor], Tensor]] = {
        "min Q": lambda q: q.min(0).values,
        "Q₁": lambda q: q[0],
    }
    for goal, entropy in product(goals, (True, False) if sac else (False,)):

        def update(rollout: Rollout, given: tuple[str, bool] = (goal, entropy)) -> Tensor:
            state = torch.tensor(rollout.state)
            first, _ = draw_noise(len(state))
            table = p.actor.clone().requires_grad_(True)
            if sac:
                action, logp = speak(table, state, first)
            else:
                action, logp = table[state].tanh(), torch.zeros(len(state))
            worth = goals[given[0]](judge(p.critics, state, action))
            worth = worth - p.alpha * logp if given[1] else worth
            return torch.autograd.grad(worth.mean(), table)[0]

        yield name_actor(goal, entropy), update


def name_actor(goal: str, entropy: bool) -> str:
    return f"{goal}(s, a) − α·log π(a|s)" if entropy else f"{goal}(s, μ(s))"


def draw_noise(n: int) -> tuple[Tensor, Tensor]:
    """The two draws of a trainer that starts at the seed, in float32 as it does.  [n] twice"""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        first, second = (torch.normal(torch.zeros(n, 1), torch.ones(n, 1)) for _ in range(2))
    return first[:, 0].double(), second[:, 0].double()


def draw_smoothing(n: int, noise: float) -> Tensor:
    """TD3's target noise, clipped at ½ (Fujimoto et al. 2018, eq. 14).  [n]"""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return torch.zeros(n, 1).normal_(0, noise).clamp(-0.5, 0.5)[:, 0].double()


def read_rollout(rollout: Rollout) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """State, action, next state, reward, terminated, truncated.  [n] each"""
    return (
        torch.tensor(rollout.state),
        torch.tensor([DONE[action] for action in rollout.action], dtype=torch.float64),
        torch.tensor(rollout.following),
        torch.tensor(rollout.reward, dtype=torch.float64),
        torch.tensor(rollout.terminated),
        torch.tensor(rollout.truncated),
    )
