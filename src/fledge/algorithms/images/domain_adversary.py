"""Learning to read pictures of which none has a label, from others that have (domain-adversarial
training; Ganin et al. 2016, arXiv:1505.07818).

sample: pictures with labels of the one kind, without of the other.  score, weigh: –.  fit: nll of
the labels, and of the domain by a second reader whose gradient is turned round before it reaches
the features: they become such that the domains are not told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.images.classifier import check_known, check_labels
from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.images.fitting import fit_to
from fledge.images.pictures import Pictures, PictureSet, PictureShape
from fledge.images.reading import read_pictures
from fledge.models.images.classifier import Classifier as Model
from fledge.sample.pictures import PictureBatches
from fledge.seeds import seed_for
from fledge.splits import Split
from fledge.stopwatch import Stopwatch

HIDDEN = 64  # units of the reader of domains


@dataclass(frozen=True)
class TwoDomains(Pictures):
    """Pictures with labels, and beside each one of the other domain: [B, C, H, W] uint8."""

    other: Tensor


class DomainAdversary:
    class Settings(AlgorithmSettings):
        target: str | None = Field(
            default=None,
            description="pictures to learn to read without their labels, named as data is; those "
            "of another size or number of levels are made like the data",
        )
        width: int = Field(
            default=16, ge=1, description="channels of the first convolution; of small pictures a "
            "16th of the hidden units"
        )  # fmt: skip
        features: int = Field(default=32, ge=1, description="numbers just below the logits")
        adversary: float = Field(
            # 1, as in the paper, took a network of this size from 94 to 68 % on thickened digits
            default=0.03,
            ge=0,
            description="weight of the domains' loss for the features; 0: as without a target",
        )
        rise: int = Field(
            default=300, ge=1, description="optimizer steps over which that weight rises"
        )

    usual: ClassVar[Mapping[str, Any]] = {
        "steps": 1000, "rows_per_step": 64, "learning_rate": 1e-3, "samples": 0,
        "judged_samples": 0,
    }  # fmt: skip
    unfinished = None

    def __init__(
        self,
        settings: Settings,
        model: Model,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.settings, self.model, self.stopwatch = settings, model, stopwatch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, "weights", "domains"))
            reader = nn.Sequential(
                nn.Linear(settings.features, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1)
            )
        self.domains = reader.to(next(model.parameters()).device)
        self.learner = make_learner(nn.ModuleList([model, self.domains]))
        self.target = read_target(settings.target, model.shape)["train"]
        self.seed = seed_for(seed, "data", "target")
        self.others: PictureBatches | None = None

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> Model:
        check_labels(shape)
        read_target(settings.target, shape)  # what is wrong with it is said before there is a run
        return Model(shape, settings.model_dump(include={"width", "features"}))

    @staticmethod
    def share(model: Model, rows: Pictures) -> Tensor:
        return model.logits(rows.x).logsumexp(1).mean()

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: of both readers; label_loss: nats a label; domain_loss: nats a
        picture, log 2 where the domains are not told apart.
        """
        step = self.learner.steps + self.learner.skipped
        weight = self.settings.adversary * min(1.0, step / self.settings.rise)
        count = self.learner.count_rows(check_known(batch))

        def loss(rows: TwoDomains) -> tuple[Tensor, Mapping[str, Tensor]]:
            ours, theirs = self.model.features(rows.x), self.model.features(rows.other)
            logits = self.model.logits_of(ours)
            labels = F.cross_entropy(logits, rows.label, reduction="sum") / count
            domains = domain_loss(self.domains, ours, theirs, weight).sum() / count
            return labels + domains, {"label_loss": labels, "domain_loss": domains}

        with self.stopwatch.phase("fit"):
            rows = TwoDomains.of(batch, other=self.draw_others(len(batch)))
            said = self.learner.step(loss, rows)
        return said | {"rows": float(len(batch)), "adversary_weight": weight}

    def draw_others(self, number: int) -> Tensor:
        """The next pictures of the target.  -> [number, C, H, W]"""
        if self.others is None:
            self.others = PictureBatches(self.target, number, self.seed)
        return next(self.others).x

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        x = self.target.rows.spread(32).x
        return [
            Sheet("target", "Target", "of the other domain, as they are read", x,
                  self.target.shape.levels, 8)
        ]  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        others = None if self.others is None else self.others.state_dict()
        rows = 0 if self.others is None else self.others.rows_per_step
        return {"learner": self.learner.state_dict(), "others": others, "rows": rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.others = None
        if state["others"] is not None:
            self.others = PictureBatches(self.target, state["rows"], self.seed)
            self.others.load_state_dict(state["others"])


def read_target(name: str | None, shape: PictureShape) -> dict[Split, PictureSet]:
    """The other domain in its three parts, made as the data is. Raises UserError where none is
    given, or too few to hold some out.
    """
    if name is None:
        raise UserError(
            "dann needs target=: pictures to learn to read, whose labels are not used (such as "
            "target=train-images-idx3-ubyte.gz). Without any, model=classifier."
        )
    parts = fit_to(read_pictures(name), shape).split()
    if parts is None:
        raise UserError(f"target={name} has too few different pictures to hold some out.")
    return parts


def domain_loss(reader: nn.Module, ours: Tensor, theirs: Tensor, weight: float) -> Tensor:
    """−log p(domain) by the reader, of pairs, half of each: its gradient is the reader's own, and
    for the features −`weight` times that (eq. 13).  [B, F], [B, F] -> [B]
    """
    said, other = (reader(TurnRound.apply(x, weight))[:, 0] for x in (ours, theirs))
    return 0.5 * (F.softplus(-said) + F.softplus(other))


class TurnRound(torch.autograd.Function):
    """x forwards; backwards the gradient times −weight (eqs. 16 and 17)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return -ctx.weight * gradient, None
