"""A student foretells what its own slow average says of another copy of the picture (DINO: Caron et
al. 2021, arXiv:2104.14294), with two large views and no small ones.

sample: data.  score: the teacher, sharpened and balanced.  weigh: –.  fit: cross-entropy of the
    teacher's shares over K prototypes, of each copy by the student's of the other.

Where one prototype took all, or all were alike, there would be nothing to learn. The paper takes a
running mean away from what the teacher says; here the shares of a step are balanced by the
iteration of Sinkhorn and Knopp, as in DINOv2 (Oquab et al. 2023, arXiv:2304.07193, §4). With the
mean a step of a hundred pictures went from one collapse to the other, and nothing was learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.images.pretext import USUAL, EncoderSettings, Pretext, noise_for
from fledge.algorithms.images.protocol import MakeLearner
from fledge.algorithms.images.simclr import DEFAULT, TwoViews, make_views
from fledge.algorithms.parts.target_network import TargetNetwork
from fledge.images.augment import CHANGES, Change
from fledge.images.pictures import Pictures
from fledge.models.images.encoder import PictureEncoder
from fledge.stopwatch import Stopwatch

BALANCINGS = 3


@dataclass(frozen=True)
class Taught(TwoViews):
    """said: [B, 2, K], the teacher's shares of the two copies."""

    said: Tensor


class Prototypes(nn.Module):
    """How near a picture is to each of K directions."""

    def __init__(self, width: int, prototypes: int) -> None:
        super().__init__()
        self.turn = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.direction = nn.Parameter(torch.randn(prototypes, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, W] -> cosines, [B, K]"""
        return F.normalize(self.turn(x), dim=1) @ F.normalize(self.direction, dim=1).T


class DINO(Pretext):
    usual: ClassVar[Mapping[str, Any]] = {**USUAL, "learning_rate": 3e-3}

    class Settings(EncoderSettings):
        prototypes: int = Field(default=32, ge=2, description="K, of the last layer")
        student_temperature: float = Field(default=0.1, gt=0, description="of the softmax")
        teacher_temperature: float = Field(default=0.01, gt=0, description="lower: sharpened")
        teacher_rate: float = Field(
            default=0.03, gt=0, le=1, description="of the way to the student that a step makes"
        )
        changes: tuple[Change, ...] = Field(
            default=DEFAULT, min_length=1,
            description=f"by which two copies differ, of {', '.join(CHANGES)}",
        )  # fmt: skip

    def __init__(
        self,
        settings: Any,
        model: PictureEncoder,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        super().__init__(settings, model, make_learner, seed, stopwatch)
        self.student = nn.ModuleDict({"encoder": model, "heads": self.heads})
        self.teacher = TargetNetwork(self.student)
        network: Any = self.teacher.network
        self.model = network["encoder"]  # what the paper evaluates, too

    def make_heads(self) -> nn.Module:
        return Prototypes(self.model.width, self.settings.prototypes)

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step, then one of the teacher. teacher_entropy: of a copy's shares, in
        nats; at log K it says nothing.
        """
        settings = self.settings
        views = make_views(
            batch, settings.changes, self.model.shape.levels, noise_for(self.seed, self.learner)
        )
        with self.stopwatch.phase("fit"):
            said = balance(self._ask_teacher(views), settings.teacher_temperature)
            count = self.learner.count_rows(batch)

            def loss(rows: Taught) -> tuple[Tensor, Mapping[str, Tensor]]:
                own = read_both(self.student, rows) / settings.student_temperature
                # of each copy the teacher's word, foretold from the other
                each = -(rows.said.flip(1) * own.log_softmax(2)).sum(2).mean(1)
                return each.sum() / count, {}

            figures = self.learner.step(loss, Taught.of(views, said=said))
        self.teacher.follow(settings.teacher_rate)
        entropy = float(-(said * said.clamp(min=1e-12).log()).sum(2).mean())
        return figures | {"teacher_entropy": entropy, "rows": float(len(batch))}

    @torch.no_grad()
    def _ask_teacher(self, views: TwoViews) -> Tensor:
        """Cosines of all rows of the step.  -> [B, 2, K]"""
        said, places = list[Tensor](), list[Tensor]()
        for piece, rows in self.learner.micro_batches.cut_with_rows(views):
            with self.learner.autocast():
                said.append(read_both(self.teacher.network, piece.to(self.learner.device)).cpu())
            places.append(rows)
        return torch.cat(said)[torch.cat(places).argsort()]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"teacher": self.teacher.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.teacher.load_state_dict(state["teacher"])


def read_both(network: nn.Module, views: TwoViews) -> Tensor:
    """[B, 2, K]"""
    parts: Any = network
    encoder, heads = parts["encoder"], parts["heads"]
    both = torch.cat([views.one, views.other])
    said = heads(encoder.tokens(encoder.prepare(both)).mean(1)).float()
    return torch.stack(said.chunk(2), 1)


def balance(raw: Tensor, temperature: float) -> Tensor:
    """Shares exp(g / τ), scaled in turn so that every prototype has as much of the step as any, and
    every copy's shares sum to 1 (Caron et al. 2020, arXiv:2006.09882, §3.1).  [B, 2, K] cosines ->
    [B, 2, K]
    """
    share = ((raw.double() - 1) / temperature).flatten(0, 1)
    for _ in range(BALANCINGS):
        share = share - share.logsumexp(0, keepdim=True)
        share = share.log_softmax(1)
    return share.exp().view(raw.shape).float()
