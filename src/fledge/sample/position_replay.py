"""The positions of the last games, drawn from evenly, each time under another symmetry of the
board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.sample.self_play import PlayedMoves
from fledge.trajectories import Rows
from fledge.worlds.games.game import Game


@dataclass(frozen=True)
class TaughtPositions(Rows):
    """N positions, as the player whose turn it is sees them, and what is to be said of them."""

    seen: Tensor  # [N, C, rows, columns]
    legal: Tensor  # [N, A] bool
    policy: Tensor  # [N, A]
    result: Tensor  # [N], −1…1


class PositionReplay:
    """The last `capacity` positions. State: all of them, and the generator."""

    def __init__(
        self, game: Game, capacity: int, *, generator: torch.Generator, symmetries: bool = True
    ) -> None:
        self.game, self.capacity, self.generator = game, capacity, generator
        self.symmetries = len(game.moves) if symmetries else 1
        self.held = PlayedMoves(
            torch.zeros(0, game.begin(1).shape[1], dtype=torch.long),
            torch.zeros(0, game.actions),
            torch.zeros(0, dtype=torch.long),
            torch.zeros(0),
            torch.zeros(0),
            torch.zeros(0, dtype=torch.long),
        )

    def __len__(self) -> int:
        return len(self.held)

    def push(self, batch: PlayedMoves) -> int:
        """The oldest are forgotten for them.  -> how many came"""
        joined = [
            torch.cat([old, new])[-self.capacity :]
            for (_, old), (_, new) in zip(self.held.items(), batch.items(), strict=True)
        ]
        self.held = PlayedMoves(*joined)
        return len(batch)

    def draw(self, rows: int) -> TaughtPositions:
        """Evenly, with replacement."""
        game = self.game
        index = torch.randint(len(self), (rows,), generator=self.generator)
        drawn = self.held[index]
        which = torch.randint(self.symmetries, (rows,), generator=self.generator).numpy()
        positions = drawn.position.numpy()
        seen = game.observe(positions).reshape(rows, game.planes, -1)
        cells, moves = game.cells[which], game.moves[which]
        turned = np.take_along_axis(seen, cells[:, None], 2)
        legal = np.take_along_axis(game.legal(positions), moves, 1)
        return TaughtPositions(
            seen=torch.from_numpy(turned).reshape(rows, game.planes, *game.board),
            legal=torch.from_numpy(legal),
            policy=drawn.policy.gather(1, torch.from_numpy(moves)),
            result=drawn.result,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"held": self.held.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.held = PlayedMoves.from_state(state["held"])
        self.generator.set_state(state["generator"])
