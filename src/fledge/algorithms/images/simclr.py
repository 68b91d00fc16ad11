"""Two changed copies of a picture find each other among those of the whole step (SimCLR: Chen et
al. 2020, arXiv:2002.05709).

sample: data.  score: –.  weigh: –.  fit: −log softmax(cos(z_i, z_j) / τ) over all other copies
    (NT-Xent, eq. 1), of a projection that is thrown away.

All rows of a step meet in the loss: its gradient with respect to the projections is taken first,
and then differentiated through the network a micro-batch at a time, as in
`likelihood/contrastive.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fledge import rank_sums
from fledge.algorithms.images.pretext import USUAL, EncoderSettings, Pretext, noise_for
from fledge.images.augment import CHANGES, Change, augment
from fledge.images.pictures import Pictures
from fledge.trajectories import Rows

DEFAULT: tuple[Change, ...] = ("turn", "crop", "noise")


@dataclass(frozen=True)
class TwoViews(Rows):
    """Of each picture: [B, C, H, W] uint8 twice."""

    one: Tensor
    other: Tensor


@dataclass(frozen=True)
class PulledViews(TwoViews):
    """share: [B], of the step's loss. pull: [B, 2, W], its gradient at the two projections."""

    share: Tensor
    pull: Tensor


class SimCLR(Pretext):
    usual: ClassVar[Mapping[str, Any]] = {**USUAL, "rows_per_step": 128}

    class Settings(EncoderSettings):
        temperature: float = Field(default=0.2, gt=0, description="τ")
        changes: tuple[Change, ...] = Field(
            default=DEFAULT, min_length=1,
            description=f"by which two copies differ, of {', '.join(CHANGES)}",
        )  # fmt: skip

    def make_heads(self) -> nn.Module:
        width = self.model.width
        return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def project(self, views: TwoViews) -> Tensor:
        """[B, 2, W]"""
        both = torch.cat([views.one, views.other])
        said = self.heads(self.model.tokens(self.model.prepare(both)).mean(1)).float()
        return torch.stack(said.chunk(2), 1)

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. accuracy: how often the nearest copy is the picture's own other."""
        views = make_views(
            batch, self.settings.changes, self.model.shape.levels,
            noise_for(self.seed, self.learner),
        )  # fmt: skip
        with self.stopwatch.phase("fit"):
            pulled, accuracy = self._pull(views)
            said = self.learner.step(self._differentiate, pulled)
        return said | {"accuracy": accuracy, "rows": float(len(batch))}

    def _pull(self, views: TwoViews) -> tuple[PulledViews, float]:
        """The loss of the whole step, and where it pulls each projection."""
        z = self._project_all(views).requires_grad_()
        share = nt_xent(z, self.settings.temperature) / self.learner.count_rows(views)
        (pull,) = torch.autograd.grad(share.sum(), z)
        right = find_nearest(z.detach()) == pair_up(len(z)).to(z.device)
        pulled = PulledViews.of(views, share=share.detach().cpu(), pull=pull.cpu())
        return pulled, float(right.double().mean())

    @torch.no_grad()
    def _project_all(self, views: TwoViews) -> Tensor:
        """Of all rows of the step, each rank of its own.  -> [B, 2, W]"""
        own = rank_sums.own_rows(views)
        asked = own if len(own) else views[:1]  # for the shape of the answer
        said, places = list[Tensor](), list[Tensor]()
        for piece, rows in self.learner.micro_batches.cut_with_rows(asked):
            with self.learner.autocast():
                said.append(self.project(piece.to(self.learner.device)))
            places.append(rows)
        order = torch.cat(places).argsort()[: len(own)]
        return rank_sums.join_rows(torch.cat(said)[order], views)

    def _differentiate(self, rows: PulledViews) -> tuple[Tensor, Mapping[str, Tensor]]:
        """∇ of Σ ⟨z, ∂L/∂z⟩, held fixed, is ∇L by the chain rule; its value is set to that of L."""
        turn = (self.project(rows) * rows.pull).sum()
        return turn - turn.detach() + rows.share.sum(), {}


def make_views(
    batch: Pictures, changes: tuple[Change, ...], levels: int, generator: torch.Generator
) -> TwoViews:
    """Two copies, each changed by chance."""
    one, other = (augment(batch.x, changes, levels, generator) for _ in range(2))
    return TwoViews(one, other)


def pair_up(B: int) -> Tensor:
    """Of 2B copies, first all ones, then all others: the place of each one's partner.  -> [2B]"""
    return torch.arange(2 * B).roll(B)


def compare(z: Tensor) -> Tensor:
    """Cosines of all copies, none with itself.  [B, 2, W] -> [2B, 2B]"""
    every = F.normalize(z.transpose(0, 1).flatten(0, 1), dim=1)
    own = torch.eye(len(every), dtype=torch.bool, device=z.device)
    return (every @ every.T).masked_fill(own, -torch.inf)


def find_nearest(z: Tensor) -> Tensor:
    """[B, 2, W] -> [2B]"""
    return compare(z).argmax(1)


def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """The mean of a picture's two losses.  [B, 2, W] -> [B]"""
    logits = compare(z) / temperature
    each = -logits.log_softmax(1)[torch.arange(len(logits)), pair_up(len(z))]
    return each.view(2, -1).mean(0)
