"""Labels out of labelling functions: how far each can be relied on, and what its votes then say of
every row.

sample: all rows.  score: log p(votes, y).  weigh: p(y | votes).  fit: how often each function says
what of which label, in closed form (Dawid & Skene 1979, eqs. 2.3–2.5), with imagined rows of each
label, for which it is as its author expects; or the weights by which functions are as often right
as he expects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.latent.regularised_posterior import Constraints
from fledge.algorithms.latent.settings import LatentSettings
from fledge.errors import UserError
from fledge.models.latent.label_model import (
    RARE,
    LabelModel,
    expect_table,
    list_agreement,
    list_said,
)
from fledge.rows.votes import Votes
from fledge.sample.points import Block
from fledge.stopwatch import Stopwatch


class WeakSupervision:
    """`elbo` of a step is taken before its M-step, with the log-density of the prior; of
    constraints it is their dual.
    """

    class Settings(LatentSettings):
        """Of labelling functions and how they are believed."""

        functions: str = Field(
            default="rules.py",
            description="a FILE.py: LABELS, and functions of a row that return a label or None",
        )
        method: Literal["em", "constraints"] = Field(
            default="em",
            description="accuracies by EM; or as the file's EXPECTED has them, and no more than "
            "that",
        )
        balance: Literal["even", "inferred"] = Field(
            default="even", description="how frequent the labels are"
        )
        expected: float = Field(
            default=0.75, gt=0, lt=1, description="share of right votes of a function before it is "
            "seen, or that EXPECTED does not name",
        )  # fmt: skip
        counts: float = Field(
            default=0.1,
            gt=0,
            le=1e3,
            description="em: how much this expectation counts, as a share of the rows",
        )
        slack: float = Field(
            default=1.0, gt=0, le=1e6, description="constraints: how loosely they are held, votes²"
        )
        judged_on: str | None = Field(
            default=None, description="labelled rows to judge on, in place of the test part"
        )
        classify: str | None = Field(
            default=None,
            description="rows of text, a .jsonl, that the classifier labels when it is trained, "
            "into classified.jsonl of the run",
        )

        @staticmethod
        def even(labels: int) -> Tensor:
            return torch.full((labels,), 1 / labels, dtype=torch.float64)

    unfinished = None

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 0, stopwatch: Stopwatch | None = None
    ) -> None:
        self.settings = settings or WeakSupervision.Settings()
        self.stopwatch = stopwatch or Stopwatch()
        self.model: LabelModel | None = None
        self.elbo, self.done = -torch.inf, False

    def begin(self, points: Votes) -> None:
        """Every function as its author expects it.  Raises UserError where nobody votes."""
        if not bool((~points.x.isnan()).any()):
            raise UserError(
                f"no function votes on any row of {points.source}: each returned None, every time."
            )
        C = len(points.names)
        expected = self.list_expected(points)
        theta = torch.zeros_like(expected) if self.settings.method == "constraints" else None
        even = self.settings.even(C)
        table = expect_table(points.x, even, expected)
        self.model = LabelModel(even, table, points.names, theta)

    def list_expected(self, points: Votes) -> Tensor:
        """[M]"""
        usual = self.settings.expected
        return torch.tensor(
            [usual if each is None else each for each in points.expected], dtype=torch.float64
        )

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        with self.stopwatch.phase("fit"):
            points = batch.points
            assert isinstance(points, Votes)
            if self.model is None:
                self.begin(points)
            if self.settings.method == "em":
                elbo = self._step_em(points)
            else:
                elbo = self._step_constraints(points)
            self.done = elbo - self.elbo < self.settings.tolerance
            self.elbo = elbo
            assert self.model is not None
            accuracy = self.model.accuracy
            return {
                "elbo": elbo, "least_accuracy": float(accuracy.min()),
                "best_accuracy": float(accuracy.max()),
            }  # fmt: skip

    def _step_em(self, points: Votes) -> float:
        assert self.model is not None
        model, s = self.model, self.settings
        log_joint = model.log_joint(points.x)
        log_p = log_joint.logsumexp(1)
        q = (log_joint - log_p[:, None]).exp()
        C = len(model.balance)
        imagined = s.counts * len(points) / C  # rows of each label
        expected = imagined * expect_table(points.x, s.even(C), self.list_expected(points))
        said = torch.einsum("nc,nmv->mcv", q, list_said(points.x, C))
        table = (said + expected) / (q.sum(0)[:, None] + imagined)
        balance = model.balance
        elbo = float(log_p.sum() + (expected * model.table.log()).sum())
        if s.balance == "inferred":
            elbo += float(model.balance.log().sum())  # an imagined row of each
            balance = (q.sum(0) + 1) / (len(q) + q.shape[1])
        # as it is written and read again: of another layout the last bits differ
        self.model = replace(model, table=table.contiguous(), balance=balance)
        return elbo / len(points)

    def _step_constraints(self, points: Votes) -> float:
        assert self.model is not None
        model, theta = self.model, self.model.theta
        assert theta is not None
        agrees = list_agreement(points.x, len(model.balance))
        cast = (~points.x.isnan()).double().sum(0)
        log_prior = model.balance.log().expand(len(points), -1)
        wanted = cast * self.list_expected(points)
        constraints = Constraints(log_prior, agrees, wanted, self.settings.slack)
        dual = constraints.dual(theta)
        theta = constraints.climb(theta)
        q = constraints.posterior(theta)
        said = torch.einsum("nc,nmv->mcv", q, list_said(points.x, q.shape[1])) + RARE
        table = said / said.sum(2, keepdim=True)
        self.model = replace(model, theta=theta, table=table.contiguous())
        return dual / len(points)

    def log_likelihood(self, points: Votes) -> float:
        """Σ_n log p(votes_n), in nats."""
        assert self.model is not None
        return float(self.model.log_prob(points.x).sum())

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": None if self.model is None else [self.model.card(), self.model.tensors()],
            "counts": [self.elbo, self.done],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model = state["model"] and LabelModel.restore(*state["model"])
        self.elbo, self.done = state["counts"]
