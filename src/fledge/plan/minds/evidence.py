"""What several things that were seen say of possibilities that can be listed: Bayes' rule, thing by
thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.inverse_planning import measure


@dataclass(frozen=True)
class Stage:
    """Where it was seen. rows: of a map; at: row and column of two, before anything and after each
    step.
    """

    rows: tuple[str, ...]
    at: Sequence[tuple[tuple[int, int], tuple[int, int]]]


@dataclass(frozen=True)
class Evidence:
    """prior: [M]. log_likelihood: [T, M] of what was `seen`, which has T names. sums: by title,
    what each possibility counts for under which name, [M] each; the posterior's sums of these are
    told: chances, but for titles that begin with "expected". tables: (title, note, columns, rows)
    that do not depend on what was seen.
    """

    prior: Tensor
    seen: Sequence[str]
    log_likelihood: Tensor
    sums: Mapping[str, Mapping[str, Tensor]]
    about: str
    tables: Sequence[tuple[str, str, Sequence[str], Sequence[Sequence[str]]]] = field(default=())
    # what is foretold of what is asked: name -> how likely it is under each possibility, [M]
    asked: Mapping[str, Tensor] = field(default_factory=dict)
    stage: Stage | None = None

    def tell(self, posterior: Tensor) -> dict[str, dict[str, float]]:
        return {
            title: {name: float(posterior @ counts) for name, counts in names.items()}
            for title, names in self.sums.items()
        }


class Weighing:
    """log_posterior: [M], after what was seen so far; in logs, for who is all but excluded by one
    thing may be all that is left after the next. foretold: how likely the last of it was.
    """

    unfinished = None

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.log_posterior, self.foretold, self.place = evidence.prior.log(), 1.0, 0

    @property
    def posterior(self) -> Tensor:
        """[M]"""
        return self.log_posterior.exp()

    def update(self, batch: int, between_steps: Callable[[], None] = lambda: None) -> Any:
        """Take in the next thing. Raises UserError for one that cannot be."""
        joint = self.log_posterior + self.evidence.log_likelihood[self.place]
        total = joint.logsumexp(0)
        if not bool(total.isfinite()):
            raise UserError(
                f"{self.evidence.seen[self.place]!r} was seen, and every mind excludes it: correct "
                "it, or allow for errors."
            )
        self.log_posterior, self.foretold = joint - total, float(total.exp())
        self.place += 1
        return measure(self.posterior) | {"foretold": self.foretold}

    def state_dict(self) -> dict[str, Any]:
        own = {"foretold": self.foretold, "place": self.place}
        return {"log_posterior": self.log_posterior, **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.log_posterior = state["log_posterior"]
        self.foretold, self.place = state["foretold"], state["place"]


def single(names: Sequence[str]) -> dict[str, Tensor]:
    """Each possibility by its own name."""
    return dict(zip(names, torch.eye(len(names), dtype=torch.float64), strict=True))
