"""A small residual network over a board: how likely each move is, and what the position is worth.

Silver et al. 2017 (AlphaGo Zero, methods), without batch norm: a block that begins as the identity
(its last convolution at 0; Zhang et al. 2019, Fixup) needs none at this depth, and then a position
is thought of alike whoever is beside it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VALUE_WIDTH = 64  # hidden units of the value head


class Block(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class Trunk(nn.Module):
    """Planes to features.  [N, planes, rows, columns] -> [N, channels, rows, columns]"""

    def __init__(self, planes: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(planes, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        # Channels lie side by side: convolutions as small as these take half the time then.
        return F.relu(self.blocks(self.stem(x.contiguous(memory_format=torch.channels_last))))


class Heads(nn.Module):
    """Features to move logits, 0 at first, and a value in −1…1."""

    def __init__(self, channels: int, board: tuple[int, int], actions: int) -> None:
        super().__init__()
        cells, narrow = board[0] * board[1], max(2, channels // 8)
        self.moves = nn.Conv2d(channels, narrow, 1)
        self.logits = nn.Linear(narrow * cells, actions)
        self.worth = nn.Conv2d(channels, narrow, 1)
        self.hidden = nn.Linear(narrow * cells, VALUE_WIDTH)
        self.value = nn.Linear(VALUE_WIDTH, 1)
        for last in (self.logits, self.value):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, channels, rows, columns] -> [N, A], [N]"""
        logits = self.logits(F.relu(self.moves(x)).flatten(1))
        hidden = F.relu(self.hidden(F.relu(self.worth(x)).flatten(1)))
        return logits, self.value(hidden).squeeze(-1).tanh()


class BoardNetwork(nn.Module):
    """[N, planes, rows, columns] -> logits [N, A], value [N] of the player who moves"""

    def __init__(
        self,
        planes: int,
        board: tuple[int, int],
        actions: int,
        channels: int = 32,
        blocks: int = 2,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.trunk = Trunk(planes, channels, blocks)
        self.heads = Heads(channels, board, actions)
        draw_weights(self, generator)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        return self.heads(self.trunk(seen))


@torch.no_grad()
def draw_weights(module: nn.Module, generator: torch.Generator | None) -> None:
    """Every matrix that is not 0 by He et al. 2015, biases 0, out of a generator of the run's."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            fan_in = part.weight[0].numel()
            if part.weight.any():
                part.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            if part.bias is not None:
                part.bias.zero_()
