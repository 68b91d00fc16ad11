"""DQN: it does not fit `weigh`, because what is learned is a target, not a weight: Q(s, a) is drawn
towards r + γ max Q⁻(s′, ·).

sample: ε-greedily, into a memory, and evenly (or by surprise) out of it.  score: –.  weigh: –.
fit: Huber's loss. Mnih et al. 2015, algorithm 1; double: van Hasselt et al. 2016, eq. 4 with θ⁻ as
the second network; dueling: models/control/q_network.py;
by surprise: Schaul et al. 2016, algorithm 1; n steps: Sutton & Barto 2018, eq. 7.1 with max Q⁻ at
    the end, uncorrected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.exploration import Exploration, ExploringSettings
from fledge.algorithms.parts.replayed import MemorySettings, Replayed
from fledge.algorithms.parts.target_network import TargetNetwork
from fledge.algorithms.value.losses_kernel import fit_choices_by_kernel
from fledge.learner import Learner
from fledge.models.control.q_network import QNetwork
from fledge.sample.replay import Replay, Transitions
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


class DQN:
    """Without layer norm in the network `target_every` must be 32 or more: between its copies a
    bootstrap follows itself.
    """

    class Settings(ExploringSettings, MemorySettings):
        """Of DQN, its network, its memory and how it explores."""

        n_step: int = Field(default=3, ge=1, description="rewards before the bootstrap")
        target_every: int = Field(
            default=8, ge=1, description="optimizer steps between copies to the target network"
        )
        double: bool = Field(
            default=True, description="the learning network chooses, the target network judges"
        )
        dueling: bool = Field(
            default=False, description="value and advantage in streams of their own"
        )
        prioritised: bool = Field(
            default=False, description="what surprised is remembered more often"
        )

    def __init__(
        self,
        network: QNetwork,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        replay: Replay,
        exploration: Exploration | None = None,
    ) -> None:
        """The defaults are for batches of 8 copies × 32 steps. exploration: made of the settings
        and the run's length.
        """
        self.network, self.learner, self.stopwatch = network, learner, stopwatch
        self.settings = settings or DQN.Settings()
        self.exploration = exploration or Exploration()
        self.target_network = TargetNetwork(network)
        self.steps = Replayed(replay, self.settings)

    @property
    def unfinished(self) -> Trajectories | None:
        return self.steps.batch

    @property
    def epsilon(self) -> float:
        return self.exploration.epsilon(self.steps.world_steps)

    @torch.no_grad()
    def best(self, obs: Tensor) -> Tensor:
        """argmax_a Q(s, a).  [n, *O] -> [n]"""
        return self.network(obs.to(self.learner.device)).argmax(-1).cpu()

    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, None]:
        """ε-greedy.  [n, *O] -> action [n]"""
        chance = torch.rand((2, len(obs)), generator=generator)
        anything = (chance[1] * self.network.choices).long()
        return torch.where(chance[0] < self.epsilon, anything, self.best(obs)), None

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Remember the batch, then the optimizer steps it pays for. `between_steps` is called after
        each. epsilon: from here on.
        """
        with self.stopwatch.phase("fit"):
            if self.unfinished is None:
                self.steps.begin(batch)
            return self.steps.run(self.fit, between_steps) | {"epsilon": self.epsilon}

    @torch.no_grad()
    def target(self, rows: Transitions) -> Tensor:
        """R + γ^k Q⁻(s′, a′), a′ the best by Q (double) or by Q⁻; only R where the world ended.  ->
        [N]
        """
        future = self.target_network.network(rows.next_obs)  # [N, A]
        judge = self.network(rows.next_obs) if self.settings.double else future
        worth = future.gather(-1, judge.argmax(-1, keepdim=True)).squeeze(-1)
        return rows.reward + torch.where(rows.terminated, 0.0, rows.discount * worth)

    def fit(self) -> dict[str, float]:
        """One optimizer step."""
        s, replay = self.settings, self.steps.replay
        gone = self.learner.clock.place / self.learner.schedule.steps
        drawn = replay.draw(s.rows_per_update, s.gamma, s.n_step, gone=gone)
        count = self.learner.count_rows(drawn)
        errors: list[Tensor] = []

        def loss(rows: Transitions) -> tuple[Tensor, Mapping[str, Tensor]]:
            nets = (self.network, self.target_network.network)
            # Whoever has a target of their own is asked for it.
            usual = getattr(self.target, "__func__", None) is DQN.target
            fitted = (
                fit_choices_by_kernel(*nets, rows, s.double, count, self.learner) if usual else None
            )
            if fitted is not None:
                share, marks, error = fitted
                errors.append(error)
                return share, marks
            q = self.network(rows.obs).gather(-1, rows.action[:, None]).squeeze(-1)  # [N]
            target = self.target(rows)
            errors.append((q.detach() - target).abs())
            each = rows.weight * F.smooth_l1_loss(q, target, reduction="none")
            return each.sum() / count, {"q": q.sum() / count, "td_error": errors[-1].sum() / count}

        figures = self.learner.step(loss, drawn)
        replay.surprised(drawn.index, self.learner.join(errors, drawn).cpu())
        if (self.learner.steps + self.learner.skipped) % s.target_every == 0:
            self.target_network.catch_up()
        return figures

    def state_dict(self) -> dict[str, Any]:
        parts = {
            "learner": self.learner,
            "target_network": self.target_network,
            "steps": self.steps,
        }
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in {
            "learner": self.learner,
            "target_network": self.target_network,
            "steps": self.steps,
        }.items():
            part.load_state_dict(state[name])
