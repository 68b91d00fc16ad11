"""A discrete autoencoder, and then the prior over its codes (van den Oord, Vinyals & Kavukcuoglu
2017, arXiv:1711.00937).

Two trainings in one run. First the autoencoder: −log p(x | c) and a commitment to the codes, whose
gradient goes straight through the rounding; it is no sample → score → weigh → fit. Then the prior:
maximum likelihood of a language model's rows, whose words are codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field, field_validator
from torch import Tensor, nn

from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.algorithms.settings import AlgorithmSettings
from fledge.images.pictures import Pictures, PictureSet, PictureShape
from fledge.learner import Learner
from fledge.models.images.likelihoods import show_levels
from fledge.models.images.quantise import NearestCode
from fledge.models.images.vq import VQ as Model
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories

READ = 256  # pictures at a time, where nothing is differentiated
SHOWN = 32
OF_TRAINING = {"commitment", "restart_below", "autoencoder_share", "prior_dropout"}
LEAST_LEVELS, MOST_CODES = 2, 1 << 16


def split_numbers(given: Any) -> Any:
    """8,5,5 as a list of three."""
    return [part.strip() for part in given.split(",")] if isinstance(given, str) else given


Levels = Annotated[tuple[int, ...], BeforeValidator(split_numbers)]


class Autoencoder(nn.Module):
    """The model without its prior: what learns in the first part of a run."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            [model.encoder, model.to_feature, model.quantiser, model.from_feature, model.decoder]
        )


class VQ:
    class Settings(AlgorithmSettings):
        quantiser: Literal["nearest", "rounded"] = Field(
            default="nearest",
            description="nearest: of codes that follow the features (VQ-VAE); rounded: each number "
            "of a feature to one of its levels (FSQ)",
        )
        codes: int = Field(
            default=64, ge=2, le=MOST_CODES, description="how many codes, of quantiser=nearest"
        )
        code_width: int = Field(default=8, ge=1, description="numbers of such a code")
        levels: Levels = Field(
            default=(8, 8), description="of each number, of quantiser=rounded; their product is "
            "how many codes there are",
        )  # fmt: skip
        halvings: int = Field(
            default=1, ge=0, description="of the sides, from the picture to its grid of codes; "
            "fewer where a side cannot be halved",
        )  # fmt: skip
        channels: int = Field(default=32, ge=1, description="of the convolutions")
        blocks: int = Field(default=1, ge=0, description="residual blocks on either side")
        commitment: float = Field(
            default=0.25, ge=0, description="of the squared distance to the code, in the loss"
        )
        restart_below: float = Field(
            default=0.1, ge=0, lt=1,
            description="share of its equal part of the uses below which a code begins anew",
        )  # fmt: skip
        autoencoder_share: float = Field(
            default=0.7, gt=0, lt=1, description="of the steps, the first; the others are the "
            "prior's",
        )  # fmt: skip
        prior_dropout: float = Field(
            default=0.3, ge=0, lt=1, description="share of the codes before each that the prior "
            "reads as any others, in training (word dropout)",
        )  # fmt: skip
        prior_layers: int = Field(default=3, ge=1, description="of the prior, a transformer")
        prior_width: int = Field(default=64, ge=4, description="of its hidden states")
        prior_heads: int = Field(default=4, ge=1, description="of its attention")

        @field_validator("levels")
        @classmethod
        def _levels_make_codes(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
            size = 1
            for each in levels:
                size *= each
            if not levels or min(levels) < LEAST_LEVELS or size > MOST_CODES:
                raise ValueError(
                    f"{','.join(map(str, levels)) or 'none'} was given: give numbers of "
                    f"{LEAST_LEVELS} or more, whose product is at most {MOST_CODES:,}, as 8,5,5"
                )
            return levels

    usual: ClassVar[Mapping[str, Any]] = {"steps": 3000, "rows_per_step": 64}
    unfinished = None

    def __init__(
        self,
        settings: Settings,
        model: Model,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.settings, self.model, self.seed, self.stopwatch = settings, model, seed, stopwatch
        self.autoencoder = make_learner(Autoencoder(model))
        prior = make_learner(model.prior.policy)
        steps = int(self.autoencoder.schedule.steps)
        self.first = max(1, round(steps * settings.autoencoder_share))
        shorten(self.autoencoder, self.first)
        shorten(prior, max(1, steps - self.first))
        self.prior = Supervised(model.prior.policy, prior, stopwatch)

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> Model:
        own = settings.model_dump(exclude=OF_TRAINING)
        return Model(shape, {**own, "levels": list(settings.levels)})

    @staticmethod
    def share(model: Model, rows: Pictures) -> Tensor:
        _, feature, commitment = model.quantiser.quantise(model.features(rows.x))
        prior = model.prior.log_prob_of(model.encode(rows.x), rows.label)
        given = model.build(feature)
        return commitment.mean() - model.log_likelihood(rows.x, given).mean() - prior.mean()

    @property
    def steps(self) -> int:
        """Of the autoencoder, made or not."""
        return self.autoencoder.steps + self.autoencoder.skipped

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step of the one or of the other. loss: nats a picture, of the autoencoder
        with its commitment, of the prior without the distortion.
        """
        if self.steps < self.first:
            return self.update_autoencoder(batch)
        rows = self.write_rows(batch)
        said = self.prior.update(rows)
        said |= {"loss": said["loss"] * self.model.places} if "loss" in said else {}
        return said | {"rate": said.get("loss", 0.0), "rows": float(len(batch))}

    def update_autoencoder(self, batch: Pictures) -> dict[str, float]:
        model, quantiser = self.model, self.model.quantiser
        figures = {"rows": float(len(batch))}
        if isinstance(quantiser, NearestCode):
            z = self.read(batch, model.features)
            generator = generator_for(self.seed, "noise", self.steps)
            restarted = quantiser.follow(z, self.settings.restart_below, generator)
            used = quantiser.read(z)[0].unique().numel() / quantiser.size
            figures |= {"codes_restarted": float(restarted), "codes_in_use": used}
        count = self.autoencoder.count_rows(batch)

        def loss(rows: Pictures) -> tuple[Tensor, Mapping[str, Tensor]]:
            _, feature, apart = quantiser.quantise(model.features(rows.x))
            distortion = -model.log_likelihood(rows.x, model.build(feature)).sum() / count
            commitment = apart.sum() / count
            both = distortion + self.settings.commitment * commitment
            return both, {"distortion": distortion, "commitment": commitment}

        with self.stopwatch.phase("fit"):
            return self.autoencoder.step(loss, batch) | figures

    @torch.no_grad()
    def read(self, batch: Pictures, say: Callable[[Tensor], Tensor]) -> Tensor:
        """What `say` gives for the pictures of a whole step, on every rank the same."""
        device = self.autoencoder.device
        said: list[Tensor] = []
        for start in range(0, len(batch), READ):
            with self.autoencoder.autocast():
                said.append(say(batch.x[start : start + READ].to(device)))
        return torch.cat(said).detach()

    def write_rows(self, batch: Pictures) -> Trajectories:
        """A language model's: the label's token opens a row, and every code is chosen. What stands
        before a code is in part any codes (word dropout, Bowman et al. 2016, arXiv:1511.06349,
        §3.1): without it the prior of a few thousand pictures knows them by heart.
        """
        codes = self.read(batch, self.model.encode)
        rows = self.model.prior.rows(codes, batch.label.to(codes.device))
        learner = self.prior.learner
        generator = generator_for(self.seed, "dropout", f"codes {learner.steps + learner.skipped}")
        dropped = torch.rand(codes.shape, generator=generator) < self.settings.prior_dropout
        any_codes = torch.randint(self.model.quantiser.size, codes.shape, generator=generator)
        seen = torch.where(dropped.to(codes.device), any_codes.to(codes.device), codes)
        told = self.model.prior.rows(seen, batch.label.to(codes.device))
        no = torch.zeros_like(dropped)
        return Trajectories(told, rows[:, 1:], ~no, no.float(), no, no).to(codes.device)

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        levels = self.model.shape.levels
        x = held_out.rows.spread(SHOWN).x
        shown = show_levels(levels)
        given = (x.float() * ((shown - 1) / (levels - 1))).round().to(torch.uint8)
        pairs = torch.stack([given, self.model.reconstruct(x)], 1).flatten(0, 1)
        note = f"held-out pictures, each beside what its {self.model.places} codes give"
        return [Sheet("reconstructions", "Reconstructed", note, pairs, shown, 8)]

    @torch.no_grad()
    def summarise(self, held_out: PictureSet) -> dict[str, Any]:
        """Of held-out pictures. codes_in_use: the share of codes that stand for some place.
        code_nats: of a code, were each as likely as it is there; distortion and rate: whose sum is
        the bound.
        """
        model, x = self.model, held_out.rows.x
        codes = model.encode(x)
        uses = torch.bincount(codes.flatten(), minlength=model.quantiser.size).double()
        p = uses / uses.sum()
        return {
            "codes": model.quantiser.size, "codes_of_a_picture": model.places,
            "codes_in_use": float((uses > 0).double().mean()),
            "code_nats": float(torch.special.entr(p).sum()),
            "rate": float(-model.prior.log_prob(codes).mean()),
            "distortion": float(-model.log_likelihood(x, model.decode(codes)).mean()),
        }  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {"autoencoder": self.autoencoder.state_dict(), "prior": self.prior.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.autoencoder.load_state_dict(state["autoencoder"])
        self.prior.load_state_dict(state["prior"])


def shorten(learner: Learner, steps: int) -> None:
    """Its schedule ends after so many steps."""
    schedule = learner.schedule
    warmup = min(schedule.warmup_steps, steps // 2)
    learner.schedule = dataclasses.replace(schedule, steps=steps, warmup_steps=warmup)
