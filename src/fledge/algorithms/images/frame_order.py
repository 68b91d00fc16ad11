"""Which order frames of a film had before they were shuffled (Lee et al. 2017, arXiv:1708.01246).

sample: data.  score: –.  weigh: 1.  fit: cross-entropy of the order, a film backwards counting as
    the same, from what the encoder says of each frame alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.images.clips import Clips, choose_frames
from fledge.algorithms.images.pretext import EncoderSettings, Pretext, noise_for, sum_of_right
from fledge.errors import UserError
from fledge.images.films import Films
from fledge.models.images.encoder import PictureEncoder


class FrameOrder(Pretext):
    reads = "films"

    class Settings(EncoderSettings):
        frames: int = Field(default=4, ge=3, le=5, description="that are put in order")

    def make_heads(self) -> nn.Module:
        return make_reader(self.model.width, self.settings.frames, len(self.orders))

    @property
    def orders(self) -> Tensor:
        """[K!/2, K]: of an order and its reverse the one that begins with the smaller."""
        every = itertools.permutations(range(self.settings.frames))
        return torch.tensor([order for order in every if order[0] < order[-1]])

    def update(
        self, batch: Films, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. accuracy: how often the order is right; by chance 2/K!."""
        generator = noise_for(self.seed, self.learner)
        rows = shuffle_frames(batch, self.orders, generator)
        count = self.learner.count_rows(batch)

        def loss(rows: Clips) -> tuple[Tensor, Mapping[str, Tensor]]:
            logits = self.heads(read_frames(self.model, rows.x)).float()
            share = F.cross_entropy(logits, rows.answer, reduction="sum") / count
            return share, {"accuracy": sum_of_right(logits, rows.answer, count)}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, rows)
        return said | {"rows": float(len(batch))}


def shuffle_frames(films: Films, orders: Tensor, generator: torch.Generator) -> Clips:
    """answer: of `orders` [M, K], in which the frames were put, forwards or backwards.

    Raises UserError for films of fewer frames.
    """
    frames = orders.shape[1]
    check_length(films, frames)
    clip = choose_frames(films, frames, generator)
    B = len(films)
    answer = torch.randint(len(orders), (B,), generator=generator)
    back = torch.rand(B, 1, generator=generator) < 0.5
    order = torch.where(back, orders[answer].flip(1), orders[answer])
    return Clips(clip[torch.arange(B)[:, None], order], answer)


def check_length(films: Films, frames: int) -> None:
    """Raises UserError for films that are too short."""
    T = films.frames.shape[1]
    if frames > T:
        raise UserError(
            f"frames={frames} was given, and films have {T}: give fewer, or longer films."
        )


def make_reader(width: int, frames: int, classes: int) -> nn.Module:
    """From what is said of K frames to logits."""
    hidden = 2 * width
    return nn.Sequential(nn.Linear(frames * width, hidden), nn.GELU(), nn.Linear(hidden, classes))


def read_frames(model: PictureEncoder, x: Tensor) -> Tensor:
    """What the encoder says of each frame, side by side.  [B, K, C, H, W] -> [B, K·W]"""
    said = model.tokens(model.prepare(x.flatten(0, 1))).mean(1)
    return said.view(len(x), -1)
