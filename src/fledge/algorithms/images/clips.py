"""A few frames out of each film, evenly spaced, with a question about them: what tasks of time ask
of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.images.films import Films
from fledge.trajectories import Rows


@dataclass(frozen=True)
class Clips(Rows):
    """x: [B, K, C, H, W] uint8. answer: [B]."""

    x: Tensor
    answer: Tensor

    def count_actions(self) -> int:
        return len(self)


def choose_frames(films: Films, frames: int, generator: torch.Generator) -> Tensor:
    """As far apart as a film allows, beginning anywhere that leaves room.  -> [B, K, C, H, W]"""
    B, T = films.frames.shape[:2]
    apart = (T - 1) // (frames - 1)
    start = torch.randint(0, T - apart * (frames - 1), (B,), generator=generator)
    place = start[:, None] + apart * torch.arange(frames)
    return films.frames[torch.arange(B)[:, None], place]
