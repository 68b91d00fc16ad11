"""EM for mixtures of categoricals and of Bernoullis: responsibilities, then weighted frequencies.

sample: all points.  score: log p(x, z).  weigh: responsibilities.  fit: closed form. Bishop 2006,
eqs. 9.56–9.60. With a few imagined counts of every value the bound is that of the posterior mode
(a Dirichlet prior), and it is this that never falls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.latent.settings import MixtureSettings
from fledge.algorithms.latent.starts import assign, begin_centres, choose_points
from fledge.errors import UserError
from fledge.models.latent.discrete_mixture import DiscreteMixture, one_hot
from fledge.rows.points import Points
from fledge.sample.points import Block
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch

CHUNK = 8_192
TRIAL_STEPS = 8  # of EM by which one start is compared with another


class DiscreteEM:
    """`elbo` is taken before a step's M-step, with the log-density of the prior."""

    takes_words: ClassVar[bool] = True  # any word is a value
    most_levels: ClassVar[int | None] = None

    class Settings(MixtureSettings):
        """Of a mixture of values."""

        smoothing: float = Field(
            default=0.01,
            ge=0,
            description="imagined counts of every value in every component; 0: the likelihood "
            "alone",
        )

    unfinished = None

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 0, stopwatch: Stopwatch | None = None
    ) -> None:
        self.settings = settings or DiscreteEM.Settings()
        self.k = self.settings.smallest_k
        self.seed, self.stopwatch = seed, stopwatch or Stopwatch()
        self.model: DiscreteMixture | None = None
        self.elbo, self.done = -torch.inf, False

    def begin(self, points: Points, model: DiscreteMixture | None = None) -> None:
        """The best of several starts by k-means++ on the one-hot rows.  Raises UserError for
        columns that have more values than the model takes.
        """
        if points.label is not None:
            self.k = max(self.k, len(points.names))
        self.settings.check_points(points)
        self._check_levels(points)
        if model is not None:
            self.model = model
            return
        if points.label is not None and bool((points.label >= 0).all()):
            self.model = self._count(points)
            return
        generator = generator_for(self.seed, "weights", "start")
        trials: list[tuple[float, int, DiscreteMixture]] = []
        for start in range(self.settings.starts):
            part = choose_points(points.x, points.weight, generator)
            part = Points(part.x, points.columns, part.weight, levels=points.levels)
            rows, rose = one_hot(part.x, points.levels), -torch.inf
            assert part.weight is not None
            centres = begin_centres(rows, part.weight, self.k, generator)
            nearest = Points(
                part.x, points.columns, part.weight, assign(rows, centres), levels=points.levels
            )
            model = self._count(nearest)
            for _ in range(TRIAL_STEPS if self.settings.starts > 1 else 0):
                sums, count, rose = self._expect(part, model)
                model = self._maximise(sums, count, points.levels)
            trials.append((rose, -start, model))
        self.model = max(trials, key=lambda trial: trial[:2])[2]

    def _check_levels(self, points: Points) -> None:
        for name, each in zip(points.columns, points.levels, strict=True):
            if self.most_levels is not None and len(each) > self.most_levels:
                raise UserError(
                    f"{points.source}: {name} has {len(each)} values ({', '.join(each[:4])}, …), "
                    f"and a Bernoulli has {self.most_levels}: give model=categorical."
                )

    def _count(self, points: Points) -> DiscreteMixture:
        """Of points whose component is known: the complete-data likelihood in closed form."""
        assert points.label is not None
        w = torch.ones(len(points)).double() if points.weight is None else points.weight
        r = torch.nn.functional.one_hot(points.label, self.k).double() * w[:, None]
        return self._maximise(r.T @ one_hot(points.x, points.levels), r.sum(0), points.levels)

    def _expect(self, points: Points, model: DiscreteMixture) -> tuple[Tensor, Tensor, float]:
        """Σ r · one-hot [K, ΣC], Σ r [K], and Σ w log p(x)."""
        sums, count, density = torch.zeros_like(model.chance), torch.zeros_like(model.weight), 0.0
        for start in range(0, len(points), CHUNK):
            part = points.take(slice(start, start + CHUNK))
            joint = model.log_joint(part.x)
            if part.label is None:
                log_p = joint.logsumexp(1)
                r = (joint - log_p[:, None]).exp()
            else:
                known = part.label >= 0
                own = torch.nn.functional.one_hot(part.label.clamp_min(0), self.k).double()
                r = torch.where(known[:, None], own, joint.softmax(1))
                log_p = torch.where(known, (joint * own).sum(1), joint.logsumexp(1))
            if part.weight is not None:
                r, log_p = r * part.weight[:, None], log_p * part.weight
            sums += r.T @ one_hot(part.x, model.levels)
            count += r.sum(0)
            density += float(log_p.sum())
        return sums, count, density

    def _maximise(
        self, sums: Tensor, count: Tensor, levels: tuple[tuple[str, ...], ...]
    ) -> DiscreteMixture:
        counted = sums + self.settings.smoothing
        chance, start = torch.empty_like(sums), 0
        for each in levels:
            own = slice(start, start + len(each))
            total = counted[:, own].sum(1, keepdim=True)
            even = torch.full_like(counted[:, own], 1 / len(each))
            chance[:, own] = torch.where(total > 0, counted[:, own] / total, even)
            start += len(each)
        return DiscreteMixture(count / count.sum(), chance, levels)

    def _log_prior(self, model: DiscreteMixture) -> float:
        """Σ smoothing · log θ, the Dirichlet's density up to its constant."""
        s = self.settings.smoothing
        return s * float(model.chance.log().sum()) if s else 0.0

    def log_likelihood(self, points: Points) -> float:
        assert self.model is not None
        each = self.model.log_prob(points.x)
        return float(each.sum() if points.weight is None else each @ points.weight)

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One E-step and one M-step."""
        with self.stopwatch.phase("fit"):
            points = batch.points
            if self.model is None:
                self.begin(points)
            assert self.model is not None
            sums, count, density = self._expect(points, self.model)
            elbo = (density + self._log_prior(self.model)) / points.total
            self.model = self._maximise(sums, count, points.levels)
            rose, self.elbo = elbo - self.elbo, elbo
            self.done = rose < self.settings.tolerance
            return {"elbo": elbo, "smallest_weight": float(self.model.weight.min())}

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": None if self.model is None else [self.model.card(), self.model.tensors()],
            "counts": [self.k, self.elbo, self.done],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model = state["model"] and DiscreteMixture.restore(*state["model"])
        self.k, self.elbo, self.done = state["counts"]


class BernoulliEM(DiscreteEM):
    """Of columns with two values."""

    most_levels: ClassVar[int | None] = 2
