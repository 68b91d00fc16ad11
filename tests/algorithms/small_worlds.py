"""Worlds whose values can be written down: one that is cut every ten steps, and one choice made
again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.models.control.twin_critic import TwinCritic
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.worlds.world import Box, Choices, Space, Step

LENGTH = 10  # steps of an episode
ONE_NUMBER = Box(torch.tensor([-1.0]), torch.tensor([1.0]))


class Ten:
    """Reward 1 for ten steps, whatever is done. Terminated: V at step t is 1 + … + γ^(9−t).
    Truncated: 1/(1 − γ), in every state.

    The observation is the number of the step where the world ends there, and always 0 where it
    would go on.
    """

    name, restorable = "ten", True
    observation: Space = Choices((LENGTH + 1,))

    def __init__(self, copies: int, *, terminates: bool, action: Space) -> None:
        self.copies, self.terminates, self.action = copies, terminates, action
        self.step_number = torch.zeros(copies, dtype=torch.long)

    def _seen(self) -> Tensor:
        return self.step_number.clone() if self.terminates else torch.zeros_like(self.step_number)

    def reset(self, seed: int) -> Tensor:
        self.step_number = torch.arange(self.copies) % LENGTH  # the copies end at different times
        return self._seen()

    def step(self, action: Tensor) -> Step:
        over = self.step_number == LENGTH
        self.step_number = torch.where(over, 0, self.step_number + 1)
        ended = self.step_number == LENGTH
        no = torch.zeros_like(ended)
        return Step(
            self._seen(), (~over).float(), *((ended, no) if self.terminates else (no, ended))
        )

    def state_dict(self) -> dict[str, Any]:
        return {"step_number": self.step_number}

    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        self.step_number = state["step_number"].clone()
        return self._seen()

    def close(self) -> None: ...


def values_of_ten(gamma: float, terminates: bool) -> Tensor:
    """V at steps 0 to 9, as sums.  -> [10]"""
    if not terminates:
        return torch.full((LENGTH,), 1 / (1 - gamma))
    return torch.tensor([sum(gamma**k for k in range(LENGTH - t)) for t in range(LENGTH)])


class Hill(Ten):
    """Ten with −(a − 0.3)² for each action, and what is done next does not matter where γ is 0."""

    def __init__(self, copies: int) -> None:
        super().__init__(copies, terminates=False, action=ONE_NUMBER)

    def step(self, action: Tensor) -> Step:
        step = super().step(action)
        return step._replace(reward=-(action[:, 0] - 0.3).square() * step.reward)


class KnownHill(TwinCritic):
    """Both critics know it: Q(s, a) = −(a − 0.3)². The one parameter that learns changes
    nothing.
    """

    def __init__(self) -> None:
        super().__init__(
            Choices((LENGTH + 1,)), ONE_NUMBER, generator=torch.Generator(), widths=(1,)
        )
        self.nothing = torch.nn.Parameter(torch.zeros(()))

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.first(obs, action).expand(2, -1)

    def first(self, obs: Tensor, action: Tensor) -> Tensor:
        return -(action[:, 0] - 0.3).square() + 0 * self.nothing


class KnownValues(TwinCritic):
    """Both critics are one table of the states, whatever is done: Q(s, a) = values[s]. The table
    learns.
    """

    def __init__(self, values: Tensor) -> None:
        super().__init__(
            Choices((LENGTH + 1,)), ONE_NUMBER, generator=torch.Generator(), widths=(1,)
        )
        self.networks = torch.nn.ModuleList()
        self.values = torch.nn.Parameter(values.expand(2, -1).clone())

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.values[:, obs] + 0 * action[:, 0]

    def first(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.forward(obs, action)[0]


BEYOND = 64.0  # of the state after the last step: nobody may believe it where the world has ended


def step_from_known_values(
    make: Callable[..., Any], terminates: bool, off: float
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """One step of SAC or TD3 from critics that are `off` the true values, which the target critics
    are not.

    γ = ½, so that every number is exact; 4,096 draws of the 80 steps, a tenth of which are ends.
    -> values before and after [2, 11], figures
    """
    values = torch.cat([values_of_ten(0.5, terminates), torch.tensor([BEYOND])])
    algorithm = make(
        critic=KnownValues(values), gamma=0.5, updates_per_step=1, rows_per_update=4096
    )
    if hasattr(algorithm.actor, "log_temperature"):
        # entropy is worth nothing
        algorithm.actor.log_temperature.requires_grad_(False).fill_(-60.0)
    with torch.no_grad():
        algorithm.critic.values += off
    before = algorithm.critic.values.detach().clone()
    world = Ten(8, terminates=terminates, action=ONE_NUMBER)
    batch = next(Episodes(world, algorithm, Stopwatch(), steps=11, seed=0))
    assert int((batch.terminated if terminates else batch.truncated).sum()) == 8
    figures = algorithm.update(batch)
    return before, algorithm.critic.values.detach(), figures
