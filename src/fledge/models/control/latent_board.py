"""A learned model of a game: a board becomes a latent one, moves are followed there, and there the
next moves and the outcome are foretold (Schrittwieser et al. 2020, MuZero).

Latent boards are scaled, so that many moves on end stay of one size: to a root mean square of 1. To
0…1, as in appendix G, nearly all numbers of a row are close to 0, and the heads above them learned
far more slowly (tests/models/control/test_latent_board.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.models.control.board_network import Block, Heads, Trunk, draw_weights


def scale_latent(x: Tensor) -> Tensor:
    """Each row to a root mean square of 1.  [N, …] -> [N, …]"""
    rows = x.flatten(1)
    return F.rms_norm(rows, rows.shape[1:], eps=1e-6).view_as(x)


class LatentBoardNetwork(nn.Module):
    """Called, it says of what is seen what a `BoardNetwork` says.

    places: the cell in which each move happens, None for one without a place. A move is a plane
    over the board that learns; it begins with 1 in its cell, for the convolutions, which are the
    same everywhere, cannot find a cell in planes that are drawn at random.
    """

    def __init__(
        self,
        planes: int,
        board: tuple[int, int],
        actions: int,
        channels: int = 32,
        blocks: int = 2,
        generator: torch.Generator | None = None,
        places: Sequence[int | None] = (),
    ) -> None:
        super().__init__()
        self.board = board
        self.trunk = Trunk(planes, channels, blocks)
        self.moves = nn.Embedding(actions, board[0] * board[1])
        self.join = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.dynamics = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.heads = Heads(channels, board, actions)
        draw_weights(self, generator)
        with torch.no_grad():
            self.moves.weight.normal_(0, 1, generator=generator)
            for action, cell in enumerate(places):
                if cell is not None:
                    self.moves.weight[action] = 0.0
                    self.moves.weight[action, cell] = 1.0

    def represent(self, seen: Tensor) -> Tensor:
        """[N, planes, rows, columns] -> latent [N, channels, rows, columns]"""
        return scale_latent(self.trunk(seen))

    def follow(self, latent: Tensor, action: Tensor) -> Tensor:
        """The latent board after a move.  [N, channels, rows, columns], [N] -> the same"""
        place = self.moves(action).view(-1, 1, *self.board)
        joined = self.join(torch.cat([latent, place], 1))
        return scale_latent(F.relu(self.dynamics(joined + latent)))

    def predict(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """-> move logits [N, A], value [N] of the player who moves there"""
        return self.heads(latent)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        return self.predict(self.represent(seen))
