"""AlphaZero: a search teaches the network that it asks.

sample: games of a tree search against itself, into a memory, and evenly out of it, under a symmetry
of the board.  score: how the game ended.  weigh: the search's share of visits, as soft targets.
fit: −Σ π log p + c (z − v)². Silver et al. 2018, eq. 1; with rule=gumbel Danihelka et al. 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.parts.replayed import Replayed
from fledge.algorithms.settings import AlgorithmSettings
from fledge.learner import Learner
from fledge.plan.search.searching import SearchSettings
from fledge.sample.position_replay import PositionReplay, TaughtPositions
from fledge.sample.self_play import PlayedMoves
from fledge.stopwatch import Stopwatch


class SelfPlaySettings(AlgorithmSettings):
    """How a network plays against itself and what it learns from."""

    simulations: int = Field(default=64, ge=1, description="of the search for each move")
    rule: Literal["puct", "gumbel"] = Field(
        default="puct",
        description="puct: noise at the root, its visits are learned; gumbel: sequential halving, "
        "its improved policy is, good with few simulations",
    )
    exploration: float = Field(default=1.5, ge=0, description="c of PUCT")
    noise: float = Field(
        default=0.25, ge=0, le=1, description="share of chance in PUCT's prior at the root"
    )
    noise_alpha: float = Field(
        default=1.0, gt=0, description="of the Dirichlet distribution that it is drawn from"
    )
    considered: int = Field(default=16, ge=2, description="moves that Gumbel's root begins with")
    temperature_moves: int = Field(
        default=8, ge=0, description="of a game that are drawn by the search's policy, for variety"
    )
    random_moves: int = Field(
        default=0,
        ge=0,
        description="a game begins with none to so many moves drawn evenly, which nobody learns",
    )
    leaves: int = Field(
        default=1,
        ge=1,
        description="of each tree that the network is asked about at once, by virtual loss",
    )
    buffer: int = Field(default=50_000, ge=1, description="positions that are remembered")
    learning_starts: int = Field(
        default=1_000, ge=0, description="positions before the first optimizer step"
    )
    updates_per_step: int = Field(
        default=20, ge=1, description="optimizer steps for each batch of games"
    )
    rows_per_update: int = Field(
        default=256, ge=1, description="positions that an optimizer step learns from"
    )
    value_coefficient: float = Field(default=1.0, ge=0, description="of the error of the value")
    search_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="of what the search expected in the value that is learned; the rest is how "
        "the game ended",
    )
    symmetries: bool = Field(
        default=True, description="each position is learned under any symmetry of the board"
    )

    def plan_search(self) -> SearchSettings:
        """Of its games against itself."""
        return SearchSettings(
            simulations=self.simulations, rule=self.rule, exploration=self.exploration,
            leaves=self.leaves, noise=self.noise, noise_alpha=self.noise_alpha,
            considered=self.considered,
        )  # fmt: skip

    def count_updates(self, rows: int | None = None) -> tuple[int, int]:
        return self.updates_per_step, 1


class AlphaZero:
    """network: [N, planes, rows, columns] -> logits [N, A], value [N]."""

    Settings = SelfPlaySettings

    def __init__(
        self,
        network: nn.Module,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: SelfPlaySettings | None = None,
        *,
        replay: PositionReplay,
    ) -> None:
        self.network, self.learner, self.stopwatch = network, learner, stopwatch
        self.settings = settings or SelfPlaySettings()
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
        drawn = self.steps.replay.draw(self.settings.rows_per_update)
        count = self.learner.count_rows(drawn)

        def loss(rows: TaughtPositions) -> tuple[Tensor, Mapping[str, Tensor]]:
            logits, value = self.network(rows.seen)
            policy_loss = soft_nll(logits, rows.legal, rows.policy)
            value_loss = (rows.result - value).square()
            both = policy_loss + self.settings.value_coefficient * value_loss
            agrees = logits.masked_fill(~rows.legal, -torch.inf).argmax(1) == rows.policy.argmax(1)
            return both.sum() / count, {
                "policy_loss": policy_loss.sum() / count,
                "value_loss": value_loss.sum() / count,
                "agreement": agrees.sum() / count,
            }

        return self.learner.step(loss, drawn)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "steps": self.steps.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.steps.load_state_dict(state["steps"])


def soft_nll(logits: Tensor, legal: Tensor, policy: Tensor) -> Tensor:
    """−Σ π log p over legal moves, of each row.  [N, A] -> [N]"""
    log_p = logits.float().masked_fill(~legal, -torch.inf).log_softmax(-1)
    return -torch.where(policy > 0, policy * log_p, 0.0).sum(-1)
