"""The best of several samples: how they are ranked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from fledge.engine.engine import Engine
from fledge.engine.request import Completion, Request
from fledge.errors import UserError

Score = Callable[[Completion], float]


def joint_log_probability(completion: Completion) -> float:
    """Under the model itself, in nats."""
    return sum(completion.raw_logp)


def rank(samples: Iterable[Completion], score: Score = joint_log_probability) -> list[Completion]:
    """The best first, of equals the first first; those that came to an error are left out."""
    return sorted((one for one in samples if one.error is None), key=score, reverse=True)


def best_of(
    engine: Engine, request: Request, n: int, score: Score = joint_log_probability
) -> list[Completion]:
    """n samples of the request, the best first: by joint log-probability under the model, or by
    `score`, a verifier's or a reward's.

    Samples that came to an error are left out; raises UserError where all did.
    """
    if n < 1:
        raise UserError(f"n={n} was given: it must be 1 or more.")
    samples = engine.run(dataclasses.replace(request, sample=request.sample + i) for i in range(n))
    ranked = rank(samples, score)
    if not ranked:
        raise UserError(samples[0].error or "")
    return ranked
