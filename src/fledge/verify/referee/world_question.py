"""What a trainer of agents is asked: steps in a world of two states, as its own rollout or replay
buffer would hold them, and what its update adds to tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from fledge.exact.mdp import EnumeratedMDP, random_mdp

STATES, ACTIONS, HORIZON = 2, 2, 3  # 64 trajectories
STEPS, ROLLOUTS = 8, 6  # of a drawn rollout, and how many


@dataclass(frozen=True)
class Rollout:
    """n steps one after another, each a tuple's entry. `following` is the true next state, that
    which a step ended in; where neither flag stands it is the state of the next step.
    """

    state: tuple[int, ...]
    action: tuple[int, ...]
    reward: tuple[float, ...]
    following: tuple[int, ...]
    terminated: tuple[bool, ...]
    truncated: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.state)


Update = Callable[[Rollout], Tensor]  # -> what is added to a part of the flat table


@dataclass(frozen=True)
class WorldProblem:
    """A world, a policy and a critic that is not its own value. `critic` is V [S] or Q [S, A];
    `target` is the table that Q-learning looks up.
    """

    world: EnumeratedMDP
    logits: Tensor  # [S, A]
    critic: Tensor
    target: Tensor
    gamma: float
    trace: float  # λ

    @property
    def table(self) -> Tensor:
        """All that is trained, flat: logits (none where Q alone is learned), then the critic."""
        parts = [self.critic] if self.critic.dim() == 2 else [self.logits, self.critic]
        return torch.cat([part.flatten() for part in parts])


class WorldPeer(Protocol):
    """A trainer whose own code answers. `name` is `package:trainer`."""

    name: str
    version: str

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        """What an update adds to the problem's flat table, in the direction of its optimizer's
        step; the mean over `pieces` minibatches taken at the same weights.
        """
        ...


@dataclass(frozen=True)
class WorldHearing:
    """One row to be measured: a peer at one setting, and what its documents say of it."""

    peer: str
    setting: dict[str, Any]
    claim: str
    equation: str
    family: str  # "actor" (policy and V), "values" (Q), "cloning", "inverse" or "continuous"
    problem: Any  # WorldProblem; ContinuousProblem and InverseProblem of the last two
    build: Callable[[Any], WorldPeer]
    entropy: float = 0.0  # weight of the entropy that is asked of it
    minibatches: bool = False  # whether a rollout may be cut into several
    resumes: bool = False  # whether one that was saved and loaded is compared with one that was not
    file: Path | None = None  # the user's, of a trainer that is a file

    @property
    def told(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.setting.items()) or "default"


def random_world(gamma: float) -> tuple[EnumeratedMDP, Tensor]:
    """The world that everyone is asked about, and a policy in it.  -> world, logits [S, A]"""
    world, logits = random_mdp(STATES, ACTIONS, HORIZON, gamma, seed=3)
    reward = (world.reward * 64).round() / 64
    return EnumeratedMDP(world.transition, reward, world.start, gamma, HORIZON), logits


def world_problem(family: str, gamma: float, trace: float = 0.95) -> WorldProblem:
    """Float64; rewards are numbers that float32 holds exactly."""
    world, logits = random_world(gamma)
    # Tables whose best action differs, by more than a finite difference moves an entry.
    random = torch.Generator().manual_seed(36)
    size = (STATES, ACTIONS) if family == "values" else (STATES,)
    critic = torch.randn(size, dtype=torch.float64, generator=random)
    target = critic + 0.5 * torch.randn(size, dtype=torch.float64, generator=random)
    return WorldProblem(world, logits, critic, target, gamma, trace)


def draw_rollouts(problem: Any) -> Iterator[Rollout]:
    """Steps with an end of either kind in the middle, the last one cut by the rollout's length."""
    random = torch.Generator().manual_seed(4)

    def draw(below: int) -> list[int]:
        return torch.randint(below, (STEPS,), generator=random).tolist()

    for _ in range(ROLLOUTS):
        state, action = draw(STATES), draw(ACTIONS)
        ends = torch.randperm(STEPS - 1, generator=random)[:3].tolist()
        other = draw(STATES)
        following = [
            other[at] if at in ends or at == STEPS - 1 else state[at + 1] for at in range(STEPS)
        ]
        reward = [float(problem.world.reward[s, a]) for s, a in zip(state, action, strict=True)]
        yield Rollout(
            tuple(state),
            tuple(action),
            tuple(reward),
            tuple(following),
            tuple(at == ends[0] for at in range(STEPS)),
            tuple(at in ends[1:] for at in range(STEPS)),
        )


def enumerate_episodes(problem: WorldProblem) -> Iterator[tuple[Rollout, float]]:
    """Every episode that there can be, with its probability: the world ends after H steps."""
    world = problem.world
    masses = world.prob(problem.logits).tolist()
    for state, action, reward, mass in zip(
        world.state.tolist(), world.action.tolist(), world.worth.tolist(), masses, strict=True
    ):
        last = [False] * (HORIZON - 1) + [True]
        following = (*state[1:], 0)
        yield (
            Rollout(
                tuple(state), tuple(action), tuple(reward), following, tuple(last),
                (False,) * HORIZON,
            ),
            mass,
        )  # fmt: skip
