"""MuZero: as AlphaZero, but the search looks ahead in a model that is learned with it, and knows
the rules only where it stands.

sample: games of the search against itself, into a memory, and K moves on end out of it.  score: how
the game ended.  weigh: the search's policy, as soft targets.  fit: Σ_k −Σ π log p + c (z − v)²
over the moves that were played, k ≥ 1 weighing 1 / K together as much as k = 0; half of the
gradient goes through each step of the model. Schrittwieser et al. 2020, eq. 1 and appendix G,
without rewards on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.replayed import Replayed
from fledge.algorithms.policy.alphazero import SelfPlaySettings, soft_nll
from fledge.learner import Learner
from fledge.models.control.latent_board import LatentBoardNetwork
from fledge.sample.position_replay import PositionReplay, UnrolledPositions
from fledge.sample.self_play import PlayedMoves
from fledge.stopwatch import Stopwatch


class MuZero:
    """The network's heads are right of latent boards that it came to by itself."""

    class Settings(SelfPlaySettings):
        """AlphaZero's, and how far the model is followed."""

        unroll: int = Field(default=5, ge=1, description="moves that the model is followed for")

    latent = True  # its network is a model of the game, too

    def __init__(
        self,
        network: LatentBoardNetwork,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        replay: PositionReplay,
    ) -> None:
        self.network, self.learner, self.stopwatch = network, learner, stopwatch
        self.settings = settings or MuZero.Settings()
        self.steps = Replayed(replay, self.settings, PlayedMoves.from_state)

    @property
    def unfinished(self) -> PlayedMoves | None:
        return self.steps.batch

    def update(
        self, batch: PlayedMoves, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Remember the games, then the optimizer steps they pay for; `between_steps` is called
        after each.
        """
        with self.stopwatch.phase("fit"):
            if self.unfinished is None:
                self.steps.begin(batch)
            return self.steps.run(self.fit, between_steps)

    def fit(self) -> dict[str, float]:
        """One optimizer step."""
        s = self.settings
        drawn = self.steps.replay.draw_unrolled(s.rows_per_update, s.unroll)
        count = self.learner.count_rows(drawn)

        def loss(rows: UnrolledPositions) -> tuple[Tensor, Mapping[str, Tensor]]:
            latent = self.network.represent(rows.seen)
            policy_loss = value_loss = first = torch.zeros(len(rows), device=latent.device)
            for k in range(s.unroll + 1):
                logits, value = self.network.predict(latent)
                share = 1.0 if k == 0 else 1 / s.unroll
                allowed = rows.legal if k == 0 else torch.ones_like(rows.legal)
                # Beyond the end nobody moves, and the value stays what the game was worth.
                nll = soft_nll(logits, allowed, rows.policy[:, k])
                policy_loss = policy_loss + share * nll
                error = (rows.result[:, k] - value).square()
                value_loss = value_loss + share * error
                first = nll if k == 0 else first
                if k < s.unroll:
                    halved = latent / 2 + latent.detach() / 2
                    latent = self.network.follow(halved, rows.action[:, k])
            both = policy_loss + s.value_coefficient * value_loss
            return both.sum() / count, {
                "policy_loss": first.sum() / count,
                "value_loss": value_loss.sum() / count / 2,
                "unrolled_policy_loss": (policy_loss - first).sum() / count,
            }

        return self.learner.step(loss, drawn)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "steps": self.steps.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.steps.load_state_dict(state["steps"])
