"""Judges an approximate posterior q(z) by draws of it: its bound, log p(x) by smoothed importance
weights, and k̂, the shape of their tail, which says whether q is a poor stand-in (Vehtari, Simpson,
Gelman, Yao & Gabry 2024).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fledge.models.latent.targets import Target
from fledge.models.latent.variational_family import VariationalFamily
from fledge.rows.points import Points
from fledge.score.pareto_tail import RELIABLE, smooth_weights

DRAWS = 10_000  # of a fifth of them k̂ would be up to 0.2 off
CHUNK = 1_000  # of them at a time
SHOWN = 12  # coordinates of z that are printed


def weigh_draws(target: Target, z: Tensor, points: Points) -> Tensor:
    """log p(x, z), some draws at a time.  [n, d] -> [n]"""
    return torch.cat([target.log_joint(part, points) for part in z.split(CHUNK)])


@torch.no_grad()
def judge_posterior(
    q: VariationalFamily, target: Target, points: Points, generator: torch.Generator
) -> dict[str, Any]:
    """The bound, log p(x), k̂, and the posterior's means and deviations by q and by the weights."""
    z = q.draw(DRAWS, generator)
    log_ratio = weigh_draws(target, z, points) - q.log_prob(z)
    log_weight, k = smooth_weights(log_ratio)
    share = log_weight.exp()[:, None]
    mean = (share * z).sum(0)
    return {
        "bound": float(log_ratio.mean()), "pareto_k": k,
        "log_evidence": float(log_ratio.logsumexp(0)) - math.log(DRAWS),
        "names": list(target.names), "mean": z.mean(0).tolist(), "sd": z.std(0).tolist(),
        "weighted_mean": mean.tolist(),
        "weighted_sd": (share * (z - mean).square()).sum(0).sqrt().tolist(),
    }  # fmt: skip


def describe_verdict(judged: dict[str, Any]) -> list[str]:
    """In words."""
    lines = [
        f"log p(x) ≥ {judged['bound']:.3f}; by importance weights {judged['log_evidence']:.3f}."
    ]
    if judged["pareto_k"] > RELIABLE:
        lines.append(
            f"k̂ = {judged['pareto_k']:.2f} > {RELIABLE}: q is a poor stand-in for the "
            "posterior; give a richer family (normal, mixture, flow), or more steps."
        )
    else:
        lines.append(f"k̂ = {judged['pareto_k']:.2f}: importance weights from q are reliable.")
    columns = zip(judged["names"], judged["mean"], judged["sd"], strict=True)
    for name, mean, sd in list(columns)[:SHOWN]:
        lines.append(f"  {name}: {mean:.4f} ± {sd:.4f}")
    if len(judged["names"]) > SHOWN:
        lines.append(f"  and {len(judged['names']) - SHOWN} more, in summary.json")
    return lines


@torch.no_grad()
def measure_bound(
    q: VariationalFamily, target: Target, points: Points, generator: torch.Generator
) -> float:
    """E_q[log p(x, z) − log q(z)]."""
    z = q.draw(DRAWS, generator)
    return float((weigh_draws(target, z, points) - q.log_prob(z)).mean())


@torch.no_grad()
def predict_points(
    q: VariationalFamily, target: Target, points: Points, generator: torch.Generator
) -> float:
    """log ∫ q(z) p(x' | z) dz, with p(x' | z) the joint over what it is without any points."""
    z = q.draw(DRAWS, generator)
    prior = weigh_draws(target, z, points.take(slice(0, 0)))
    each = weigh_draws(target, z, points) - prior
    return float(each.logsumexp(0)) - math.log(DRAWS)
