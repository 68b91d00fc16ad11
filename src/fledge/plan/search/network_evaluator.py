"""What a network thinks of positions: one call for all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fledge.worlds.games.game import Game, Numbers

# [N, C, rows, columns] -> logits [N, A], value [N] of the player who moves
BoardFunction = Callable[[Tensor], tuple[Tensor, Tensor]]


def mask_softmax(logits: Tensor, legal: Tensor) -> Tensor:
    """0 where it is not legal.  [N, A] -> [N, A]"""
    return logits.float().masked_fill(~legal, -torch.inf).softmax(-1)


class NetworkEvaluator:
    """An `Evaluator`. The network is asked as it is at that moment."""

    def __init__(self, game: Game, network: BoardFunction, device: torch.device) -> None:
        self.game, self.network, self.device = game, network, device

    def __call__(self, positions: Numbers, legal: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
        """[N, W], [N, A] -> [N, A], [N]"""
        with torch.inference_mode():
            seen = torch.from_numpy(self.game.observe(positions)).to(self.device)
            logits, value = self.network(seen)
            chance = mask_softmax(logits, torch.from_numpy(legal).to(self.device))
        return chance.cpu().numpy(), value.float().cpu().numpy()
