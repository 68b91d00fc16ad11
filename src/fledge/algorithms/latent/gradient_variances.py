"""How much each estimator of the bound's gradient varies for one q and one model: the total
variance of an estimate, over repeated estimates from as many samples each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from fledge.algorithms.latent.elbo_gradients import pathwise_loss, rao_blackwell_loss, score_loss
from fledge.errors import UserError
from fledge.models.latent.normal_families import IndependentNormals
from fledge.models.latent.targets import Target
from fledge.models.latent.variational_family import VariationalFamily
from fledge.rows.points import Points

REPEATS = 40  # of an estimate: its variance is then known to a fifth or so

Loss = Callable[[torch.Generator], tuple[Tensor, Tensor]]


def measure_variances(
    q: VariationalFamily, target: Target, points: Points, samples: int, seed: int
) -> dict[str, float]:
    """By estimator: Σ over parameters of the variance of one estimate of `samples` draws of z. An
    estimator that the model does not allow is left out.
    """
    log_joint = partial(target.log_joint, points=points)
    terms = partial(target.terms, points=points)
    ways: dict[str, Loss] = {
        "score": lambda g: score_loss(q, log_joint, samples, g, baseline=False),
        "pathwise": lambda g: pathwise_loss(q, log_joint, samples, g),
    }
    if samples > 1:
        ways["score less baseline"] = lambda g: score_loss(q, log_joint, samples, g)
    if samples > 1 and isinstance(q, IndependentNormals):
        ways["Rao–Blackwellised score"] = lambda g: rao_blackwell_loss(q, terms, samples, g)
    variances = {}
    for name, estimate in ways.items():
        random = torch.Generator().manual_seed(seed)
        try:
            made = torch.stack([_gradient(estimate(random)[0], q) for _ in range(REPEATS)])
        except UserError:  # a file without a gradient, or without terms
            continue
        variances[name] = float(made.var(0).sum())
    return variances


def _gradient(loss: Tensor, q: VariationalFamily) -> Tensor:
    parameters = list(q.parameters())
    made = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([each.flatten() for each in made])
