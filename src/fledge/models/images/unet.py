"""A U-Net for noisy pictures (Ho, Jain & Abbeel 2020, appendix B): down to few places, up again,
with what was seen on the way down put beside; attention where places are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.dropout import drop
from fledge.models.images.time_embedding import TimeEmbedding

FEWEST_CHANNELS_A_GROUP, MOST_GROUPS = 8, 32
HEAD = 32  # channels of an attention head


class UNet(nn.Module):
    """inputs, outputs: channels. width: of the highest level; multiples: of it, a level each, and
    each level has half of the side of the one before. blocks: residual ones, a level and way.
    labels: that a picture can be asked by; 0: none. dropout: a share of what is between the two
    convolutions of a block. Sides that do not halve so often are padded.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int,
        multiples: Sequence[int],
        blocks: int = 1,
        attention_levels: int = 1,
        labels: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layer = count()

        def dropped() -> tuple[float, int]:
            return dropout, next(layer)

        widths = [width * multiple for multiple in multiples]
        time = 4 * width
        self.embed = TimeEmbedding(time, labels)
        self.enter = nn.Conv2d(inputs, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        seen, now = [width], width
        lowest = len(widths) - 1
        for level, own in enumerate(widths):
            attends = level > lowest - attention_levels
            for _ in range(blocks):
                self.down.append(Block(now, own, time, attends, dropped()))
                now = own
                seen.append(now)
            if level < lowest:
                self.down.append(Halved(now))
                seen.append(now)
        self.middle = Block(now, now, time, attention_levels > 0, dropped())
        for level, own in reversed(list(enumerate(widths))):
            attends = level > lowest - attention_levels
            for _ in range(blocks + 1):
                self.up.append(Block(now + seen.pop(), own, time, attends, dropped()))
                now = own
            if level > 0:
                self.up.append(Doubled(now))
        self.norm = group_norm(now)
        self.leave = zeroed(nn.Conv2d(now, outputs, 3, padding=1))
        self.factor = 2**lowest
        for part in self.modules():
            if isinstance(part, nn.Conv2d):  # as convolutions on a CPU compute
                part.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, z: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        """z: [B, C, H, W]. log_snr: [B]. label: [B], below 0 where there is none.  -> [B, K, H,
        W]
        """
        H, W = z.shape[2:]
        time = self.embed(log_snr, label)
        padded = F.pad(z, (0, -W % self.factor, 0, -H % self.factor))
        x = self.enter(padded.contiguous(memory_format=torch.channels_last))
        seen = [x]
        for part in self.down:
            x = part(x, time)
            seen.append(x)
        x = self.middle(x, time)
        for part in self.up:
            x = part(torch.cat([x, seen.pop()], 1) if isinstance(part, Block) else x, time)
        return self.leave(F.silu(self.norm(x)))[:, :, :H, :W]


class Block(nn.Module):
    """Two convolutions beside a way around them; the time moves and scales what is between
    (Dhariwal & Nichol 2021, §3, "adaptive group normalisation").
    """

    def __init__(
        self, inputs: int, outputs: int, time: int, attends: bool, dropped: tuple[float, int]
    ) -> None:
        """dropped: what share while training, and the layer's number for `dropout.drop`."""
        super().__init__()
        self.norm = group_norm(inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.told = nn.Linear(time, 2 * outputs)
        self.between = group_norm(outputs)
        self.dropped = dropped
        self.second = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.around = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(outputs) if attends else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.first(F.silu(self.norm(x)))
        scale, shift = self.told(time)[:, :, None, None].chunk(2, 1)
        hidden = torch.addcmul(shift, self.between(hidden), 1 + scale)
        hidden = F.silu(hidden)
        if self.training and self.dropped[0]:
            hidden = drop(hidden, *self.dropped)
        return self.attention(self.around(x) + self.second(hidden))


class Attention(nn.Module):
    """Every place attends to every other, in heads of `HEAD` channels, beside a way around."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD)
        self.norm = group_norm(width)
        self.ask = nn.Conv2d(width, 3 * width, 1)
        self.answer = zeroed(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        asked = self.ask(self.norm(x)).flatten(2).view(B, 3, self.heads, -1, H * W)
        q, k, v = asked.transpose(3, 4).unbind(1)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(2, 3)
        return x + self.answer(seen.reshape(B, C, H, W))


class Halved(nn.Module):
    """Half of the side, by a convolution that steps over every second place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.step = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.step(x)


class Doubled(nn.Module):
    """Twice the side: every place four times, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.smooth(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def group_norm(width: int) -> nn.GroupNorm:
    """Of groups of eight channels or more, 32 of them at the most."""
    groups = min(MOST_GROUPS, max(1, width // FEWEST_CHANNELS_A_GROUP))
    while width % groups:
        groups -= 1
    return nn.GroupNorm(groups, width)


def zeroed(module: nn.Conv2d) -> nn.Conv2d:
    """So that a block is at first what goes around it."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module
