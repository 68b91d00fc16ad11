"""The frame that follows another when something is done: a flow from noise to it (Lipman et al.
2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003), given both.

x_t = (1 − t) ε + t x. The network says what x will be, beginning with the frame before, so that
untrained it copies; the flow's velocity is (x̂ − x_t) / (1 − t).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.images.pictures import PictureShape, centre, to_levels
from fledge.models.images.picture_model import PictureModel

WAVES = 16  # of the embedding of t


class Residual(nn.Module):
    """Two convolutions over the grid of patches, scaled and moved by what is told."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.told = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.told.weight)
        nn.init.zeros_(self.told.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """[B, W, h, w], [B, W] -> [B, W, h, w]"""
        scale, move = self.told(told)[:, :, None, None].chunk(2, 1)
        inside = self.first(F.silu(self.norm(x)))
        return x + self.second(F.silu(inside * (1 + scale) + move))


class NextFrame(PictureModel):
    """settings: actions (how many there are), patch (pixels a side), width, layers, steps (of the
    flow, when a frame is imagined).
    """

    name = "next_frame"
    measure = "none"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        width, self.patch = self.settings["width"], self.settings["patch"]
        numbers = shape.channels * self.patch**2
        self.actions, self.steps = self.settings["actions"], self.settings["steps"]
        self.action = nn.Embedding(self.actions, width)
        self.time = nn.Sequential(nn.Linear(2 * WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.into = nn.Conv2d(2 * numbers, width, 3, padding=1)
        self.blocks = nn.ModuleList(Residual(width) for _ in range(self.settings["layers"]))
        self.out = nn.Conv2d(width, numbers, 1)
        for part in self.out.parameters():
            nn.init.zeros_(part)

    def foretell(self, noised: Tensor, t: Tensor, before: Tensor, action: Tensor) -> Tensor:
        """x̂.  [B, C, H, W], [B], [B, C, H, W], [B] -> [B, C, H, W], all from −1 to 1"""
        wave = t[:, None] * math.pi * 2 ** torch.linspace(0, 6, WAVES, device=t.device)
        told = F.silu(self.time(torch.cat([wave.sin(), wave.cos()], 1)) + self.action(action))
        x = self.into(F.pixel_unshuffle(torch.cat([noised, before], 1), self.patch))
        for block in self.blocks:
            x = block(x, told)
        return before + F.pixel_shuffle(self.out(F.silu(x)), self.patch).float()

    @torch.no_grad()
    def imagine(self, frame: Tensor, action: Tensor, generator: torch.Generator) -> Tensor:
        """A draw of the next frame by Euler's steps.  [B, C, H, W] uint8, [B] -> [B, C, H, W]
        uint8
        """
        before = centre(frame, self.shape.levels)
        x = torch.randn(before.shape, generator=generator).to(before.device)
        for step in range(self.steps):
            t = torch.full((len(x),), step / self.steps, device=x.device)
            foretold = self.foretell(x, t, before, action)
            x = x + (foretold - x) / (self.steps - step)  # Δt / (1 − t)
        return to_levels(x, self.shape.levels)

    def roll_out(self, frame: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
        """Frame by frame, each out of the one imagined before it.  [B, C, H, W] uint8, [B, T] ->
        [B, T, C, H, W] uint8
        """
        frames: list[Tensor] = []
        for action in actions.T:
            frame = self.imagine(frame, action, generator)
            frames.append(frame)
        return torch.stack(frames, 1)

    @property
    def can_sample(self) -> bool:
        return False
