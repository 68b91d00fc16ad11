"""A student foretells what its own slow average says of another copy of the picture (DINO: Caron et
al. 2021, arXiv:2104.14294), with two large views and no small ones.

sample: data.  score: the teacher, centred and sharpened.  weigh: –.  fit: cross-entropy of the
    teacher's shares over K prototypes, of each copy by the student's of the other.

Without the centre one prototype would take all, without the sharpening all would be alike: both
are collapses, and `teacher_entropy` shows them (0, and log K).
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
    usual: ClassVar[Mapping[str, Any]] = {**USUAL, "rows_per_step": 128}

    class Settings(EncoderSettings):
        prototypes: int = Field(default=128, ge=2, description="K, of the last layer")
        student_temperature: float = Field(default=0.1, gt=0, description="of the softmax")
        teacher_temperature: float = Field(default=0.04, gt=0, description="lower: sharpened")
        teacher_rate: float = Field(
            default=0.01, gt=0, le=1, description="of the way to the student that a step makes"
        )
        centre_rate: float = Field(
            default=0.1, gt=0, le=1, description="of the way to the step's mean that a centre makes"
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
        self.centre = torch.zeros(settings.prototypes)

    def make_heads(self) -> nn.Module:
        return Prototypes(self.model.width, self.settings.prototypes)

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step, then one of the teacher and of the centre. teacher_entropy: of its
        mean share, in nats.
        """
        settings = self.settings
        views = make_views(
            batch, settings.changes, self.model.shape.levels, noise_for(self.seed, self.learner)
        )
        with self.stopwatch.phase("fit"):
            raw = self._ask_teacher(views)
            said = sharpen(raw, self.centre, settings.teacher_temperature)
            count = self.learner.count_rows(batch)

            def loss(rows: Taught) -> tuple[Tensor, Mapping[str, Tensor]]:
                own = read_both(self.student, rows) / settings.student_temperature
                # of each copy the teacher's word, foretold from the other
                each = -(rows.said.flip(1) * own.log_softmax(2)).sum(2).mean(1)
                return each.sum() / count, {}

            figures = self.learner.step(loss, Taught.of(views, said=said))
        self.teacher.follow(settings.teacher_rate)
        self.centre = move_centre(self.centre, raw, settings.centre_rate)
        mean = said.mean((0, 1))
        entropy = float(-(mean * mean.clamp(min=1e-12).log()).sum())
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
        return super().state_dict() | {
            "teacher": self.teacher.state_dict(), "centre": self.centre.clone()
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.teacher.load_state_dict(state["teacher"])
        self.centre = state["centre"].clone()


def read_both(network: nn.Module, views: TwoViews) -> Tensor:
    """[B, 2, K]"""
    parts: Any = network
    encoder, heads = parts["encoder"], parts["heads"]
    both = torch.cat([views.one, views.other])
    said = heads(encoder.tokens(encoder.prepare(both)).mean(1)).float()
    return torch.stack(said.chunk(2), 1)


def sharpen(raw: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """softmax((g − c) / τ) (§3.1).  […, K], [K] -> […, K]"""
    return ((raw - centre) / temperature).softmax(-1)


def move_centre(centre: Tensor, raw: Tensor, rate: float) -> Tensor:
    """c ← (1 − rate) c + rate · mean of g (eq. 4).  [K], [B, 2, K] -> [K]"""
    return centre.lerp(raw.mean((0, 1)), rate)
