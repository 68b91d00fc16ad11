"""Black-box variational inference: the nearest q of a family to p(z | x), of any log p(x, z), by
stochastic gradients.

sample: z from q.  score: log p(x, z) − log q(z).  weigh: the score less a baseline; or nothing, and
the gradient goes through z.  fit: Adam. Ranganath, Gerrish & Blei 2014; Kingma & Welling 2014.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from fledge.algorithms.latent.elbo_gradients import (
    importance_bound,
    importance_score_loss,
    pathwise_loss,
    rao_blackwell_loss,
    score_loss,
)
from fledge.algorithms.latent.own_target import OwnTarget
from fledge.algorithms.latent.posterior_verdict import (
    describe_verdict,
    judge_posterior,
    measure_bound,
    predict_points,
)
from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.models.latent.targets import LogisticRegression, SmallMixture, Target
from fledge.models.latent.variational_families import (
    FamilyName,
    IndependentNormals,
    VariationalFamily,
    VariationalPosterior,
    make_family,
)
from fledge.rows.points import Points
from fledge.sample.points import Block
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch


class BlackBoxVI:
    """`model`: q as the last step left it. `elbo` of a step is the mean over its gradients, in nats
    a point.
    """

    class Settings(AlgorithmSettings):
        """Of black-box variational inference."""

        target: str = Field(
            default="logistic",
            description="log p(x, z): logistic, of labels; mixture; or a FILE.py with "
            "log_joint(z, data) and dim",
        )
        family: FamilyName = Field(
            default="normal",
            description="of q: independent or one normal, a mixture, a flow, log-gammas, a "
            "Dirichlet's log-ratios",
        )
        components: int = Field(
            default=4, ge=1, le=100, description="of family=mixture, and of target=mixture"
        )
        layers: int = Field(default=6, ge=1, le=100, description="couplings of family=flow")
        hidden: int = Field(default=16, ge=1, le=4096, description="units inside a coupling")
        estimator: Literal["pathwise", "score"] = Field(
            default="pathwise", description="of the gradient: through z, or by the score of q"
        )
        baseline: bool = Field(
            default=True, description="score: of a sample, the mean of the others"
        )
        rao_blackwell: bool = Field(
            default=False, description="score: each coordinate by the terms that it is in alone"
        )
        samples: int = Field(default=16, ge=1, le=100_000, description="of z a gradient")
        importance: int = Field(
            default=1, ge=1, le=10_000, description="samples within the logarithm"
        )
        gradients: int = Field(default=50, ge=1, description="optimizer steps a step")
        learning_rate: float = Field(default=0.03, gt=0, le=10, description="of Adam, at first")
        halvings: int = Field(
            default=6, ge=0, description="of that rate, each when the bound stands; then it ends"
        )
        prior_sd: float = Field(
            default=2.5, gt=0, description="logistic: standard deviation of a weight's prior"
        )

        @model_validator(mode="after")
        def _go_together(self) -> Any:
            if self.estimator == "pathwise" and self.rao_blackwell:
                raise ValueError("rao_blackwell goes with estimator=score: give that, or leave it")
            if self.rao_blackwell and self.importance > 1:
                raise ValueError("rao_blackwell knows one sample within the logarithm: leave one")
            lonely = self.estimator == "score" and self.samples < 2 and self.importance < 2
            if lonely and self.baseline:
                raise ValueError("a baseline is the mean of other samples: give samples=2 or more")
            if self.rao_blackwell and self.family != "independent":
                raise ValueError("rao_blackwell needs coordinates apart: give family=independent")
            return self

    takes_labels = True
    unfinished = None

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 0, stopwatch: Stopwatch | None = None
    ) -> None:
        self.settings = settings or BlackBoxVI.Settings()
        self.seed, self.stopwatch = seed, stopwatch or Stopwatch()
        self.generator = generator_for(seed, "noise")
        self.family: VariationalFamily | None = None
        self.optimizer: torch.optim.Adam | None = None
        self.target: Target | None = None
        self.points: Points | None = None
        self.best, self.stood, self.halved, self.done = -torch.inf, 0, 0, False

    def begin(self, points: Points) -> None:
        """Raises UserError for points that the target is not of."""
        s = self.settings
        if self.target is None:
            self.points, self.target = points, make_target(s, points)
        if self.family is None:
            weights = generator_for(self.seed, "weights")
            self.family = make_family(
                s.family, self.target.width, weights, components=s.components, layers=s.layers,
                hidden=s.hidden,
            )  # fmt: skip
            self.optimizer = torch.optim.Adam(self.family.parameters(), lr=s.learning_rate)
            self._check()

    def _check(self) -> None:
        """What is wrong with a file of the user's is said before there is a run."""
        assert self.family is not None
        assert self.target is not None
        assert self.points is not None
        z = self.family.draw(2, torch.Generator().manual_seed(0))
        if self.settings.estimator == "score":
            with torch.no_grad():
                self.target.log_joint(z, self.points)
                if self.settings.rao_blackwell:
                    self.target.terms(z, self.points)
        else:
            self.target.log_joint(z, self.points)

    @property
    def model(self) -> VariationalPosterior | None:
        if self.family is None:
            return None
        s = self.settings
        made = {
            "name": s.family, "width": self.family.width, "components": s.components,
            "layers": s.layers, "hidden": s.hidden,
        }  # fmt: skip
        names = () if self.target is None else self.target.names
        return VariationalPosterior(self.family, made, names)

    def estimate(self, points: Points) -> tuple[Tensor, Tensor]:
        """A loss whose gradient is one estimate, and its samples' log p − log q."""
        s, q, target = self.settings, self.family, self.target
        assert q is not None
        assert target is not None
        log_joint = partial(target.log_joint, points=points)
        if s.rao_blackwell:
            assert isinstance(q, IndependentNormals)
            terms = partial(target.terms, points=points)
            return rao_blackwell_loss(q, terms, s.samples, self.generator, s.baseline)
        if s.estimator == "score" and s.importance > 1:
            return importance_score_loss(
                q, log_joint, s.samples, self.generator, s.importance, s.baseline
            )
        if s.estimator == "score":
            return score_loss(q, log_joint, s.samples, self.generator, s.baseline)
        return pathwise_loss(q, log_joint, s.samples, self.generator, s.importance)

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """`gradients` steps of Adam."""
        with self.stopwatch.phase("fit"):
            self.begin(batch.points)
            assert self.optimizer is not None
            bounds: list[float] = []
            for _ in range(self.settings.gradients):
                loss, log_ratio = self.estimate(batch.points)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                bounds.append(float(importance_bound(log_ratio)))
            elbo = torch.tensor(bounds, dtype=torch.float64)
            mean, N = float(elbo.mean()), batch.points.total
            rate = self.optimizer.param_groups[0]["lr"]
            self._slow_down(mean, float(elbo.std(correction=0)) / math.sqrt(len(bounds)))
            return {"elbo": mean / N, "elbo_spread": float(elbo.std(correction=0)), "rate": rate}

    def _slow_down(self, bound: float, error: float) -> None:
        """Half the rate where the bound is not above the best before it by more than its error, and
        was not the step before.
        """
        assert self.optimizer is not None
        if not math.isfinite(bound):
            raise UserError(
                f"the bound is {bound}: q ran away; give a smaller learning_rate than "
                f"{self.settings.learning_rate:g}, or more samples."
            )
        if bound > self.best + error:
            self.best, self.stood = bound, 0
            return
        self.best = max(self.best, bound)
        self.stood += 1
        if self.stood < 2:
            return
        self.stood = 0
        self.halved += 1
        self.done = self.halved > self.settings.halvings
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * 0.5 ** min(
                self.halved, self.settings.halvings
            )

    def conclude(self) -> tuple[dict[str, Any], list[str]]:
        """q by draws that training did not see: for the summary, and in words."""
        assert self.family is not None
        assert self.target is not None
        assert self.points is not None
        generator = generator_for(self.seed, "evaluation")
        judged = judge_posterior(self.family, self.target, self.points, generator)
        return judged, describe_verdict(judged)

    def log_likelihood(self, points: Points) -> float:
        """Of other points what q predicts of them; of the points learned from, the bound."""
        assert self.family is not None
        assert self.target is not None
        generator = generator_for(self.seed, "evaluation", 1)
        measure = measure_bound if points is self.points else predict_points
        return measure(self.family, self.target, points, generator)

    def state_dict(self) -> dict[str, Any]:
        if self.family is None or self.optimizer is None:
            return {"begun": False}
        return {
            "begun": True, "family": copy.deepcopy(self.family.state_dict()),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "generator": self.generator.get_state(),
            "counts": [self.best, self.stood, self.halved, self.done],
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """After `begin`, of the same points."""
        if not state["begun"]:
            return
        assert self.family is not None
        assert self.optimizer is not None
        self.family.load_state_dict(state["family"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.best, self.stood, self.halved, self.done = state["counts"]


def make_target(s: BlackBoxVI.Settings, points: Points) -> Target:
    """Raises UserError for a name that is none."""
    if s.target.endswith(".py"):
        return OwnTarget(s.target, points)
    if s.target == "logistic":
        return LogisticRegression(points, s.prior_sd)
    if s.target == "mixture":
        return SmallMixture(points, s.components)
    raise UserError(
        f"target={s.target}: give logistic, mixture, or a FILE.py with log_joint(z, data) and dim."
    )
