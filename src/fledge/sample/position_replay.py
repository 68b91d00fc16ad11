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
from fledge.worlds.games.game import Game, Numbers


@dataclass(frozen=True)
class TaughtPositions(Rows):
    """N positions, as the player whose turn it is sees them, and what is to be said of them."""

    seen: Tensor  # [N, C, rows, columns]
    legal: Tensor  # [N, A] bool
    policy: Tensor  # [N, A]
    result: Tensor  # [N], −1…1, the search's share in it included


@dataclass(frozen=True)
class UnrolledPositions(Rows):
    """N positions, the K moves that followed, and what is to be said before each and after the
    last. Beyond the end of a game moves are any, policies 0, and results stay the game's.
    """

    seen: Tensor  # [N, C, rows, columns]
    legal: Tensor  # [N, A] bool
    action: Tensor  # [N, K] int64
    policy: Tensor  # [N, K + 1, A]
    result: Tensor  # [N, K + 1], of the player whose turn it is then


class PositionReplay:
    """The last `capacity` positions. State: all of them, and the generator.

    search_share: of what the search expected in the result that is taught; the rest is how the
    game ended, which is right on average, and hangs on every later move.
    """

    def __init__(
        self,
        game: Game,
        capacity: int,
        *,
        generator: torch.Generator,
        symmetries: bool = True,
        search_share: float = 0.0,
    ) -> None:
        self.game, self.capacity, self.generator = game, capacity, generator
        self.search_share = search_share
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
        drawn = self.held[torch.randint(len(self), (rows,), generator=self.generator)]
        which = torch.randint(self.symmetries, (rows,), generator=self.generator).numpy()
        seen, legal = self.turn(drawn.position.numpy(), which)
        moves = torch.from_numpy(self.game.moves[which])
        return TaughtPositions(
            seen, legal, drawn.policy.gather(1, moves), self.mix(drawn.result, drawn.value)
        )

    def mix(self, result: Tensor, expected: Tensor) -> Tensor:
        """What a position is taught to be worth.  […], […] -> […]"""
        return torch.lerp(result, expected, self.search_share)

    def draw_unrolled(self, rows: int, unroll: int) -> UnrolledPositions:
        """Evenly, with the moves that followed in the same game, all under one symmetry."""
        game, held = self.game, self.held
        index = torch.randint(len(self), (rows,), generator=self.generator)
        which = torch.randint(self.symmetries, (rows,), generator=self.generator).numpy()
        seen, legal = self.turn(held.position[index].numpy(), which)
        moves = torch.from_numpy(game.moves[which])
        back = moves.argsort(1)  # what a move is called after the symmetry
        later = index[:, None] + torch.arange(unroll + 1)
        there = later.clamp(max=len(self) - 1)
        inside = (later < len(self)) & (held.game[there] == held.game[index][:, None])
        anything = torch.randint(game.actions, (rows, unroll), generator=self.generator)
        action = torch.where(inside[:, :-1], held.action[there[:, :-1]], anything)
        policy = held.policy[there] * inside[..., None]
        # Beyond the end players go on taking turns, and the result changes its sign with them.
        last = (inside.sum(1) - 1)[:, None]
        beyond = torch.arange(unroll + 1) - last
        ended = held.result[there.gather(1, last)] * (1 - 2 * (beyond % 2))
        return UnrolledPositions(
            seen, legal, back.gather(1, action),
            policy.gather(2, moves[:, None].expand(-1, unroll + 1, -1)),
            torch.where(inside, self.mix(held.result[there], held.value[there]), ended),
        )  # fmt: skip

    def turn(self, positions: Numbers, which: Numbers) -> tuple[Tensor, Tensor]:
        """What is seen and legal after a symmetry each.  [N, W], [N] -> [N, C, …], [N, A]"""
        game, rows = self.game, len(positions)
        seen = game.observe(positions).reshape(rows, game.planes, -1)
        turned = np.take_along_axis(seen, game.cells[which][:, None], 2)
        legal = np.take_along_axis(game.legal(positions), game.moves[which], 1)
        return (
            torch.from_numpy(turned).reshape(rows, game.planes, *game.board),
            torch.from_numpy(legal),
        )

    def state_dict(self) -> dict[str, Any]:
        return {"held": self.held.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.held = PlayedMoves.from_state(state["held"])
        self.generator.set_state(state["generator"])
