"""How noisy REINFORCE is on a process that can be enumerated, with each baseline that one number
can be.

The estimate from one trajectory is g·(G − b), g = Σ_t ∇log π(a_t|s_t), G the return. Every b leaves
its mean as it is; its total variance is a parabola in b whose lowest point is b* = E[‖g‖² G] /
E[‖g‖²] (Greensmith, Bartlett & Baxter 2004, theorem 8).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.exact.mdp import EnumeratedMDP, random_mdp
from fledge.verify.rows import TableRow


def estimates(mdp: EnumeratedMDP, logits: Tensor, baseline: float) -> Tensor:
    """g·(G − b) of every trajectory.  [S, A] -> [N, S, A]"""
    return mdp.step_scores(logits).sum(1) * (mdp.back - baseline)[:, None, None]


def mean_and_variance(mdp: EnumeratedMDP, logits: Tensor, estimate: Tensor) -> tuple[Tensor, float]:
    """Over all trajectories: the expected estimate [S, A], and its total variance E‖x‖² − ‖E x‖².
    estimate [N, S, A]
    """
    p = mdp.prob(logits)
    mean = torch.einsum("n,nsa->sa", p, estimate)
    return mean, float((p * estimate.square().sum((1, 2))).sum() - mean.square().sum())


def constants(mdp: EnumeratedMDP, logits: Tensor) -> dict[str, float]:
    """The baselines by name: none, a constant 1, the mean return, and the optimal one."""
    p = mdp.prob(logits)
    size = p * mdp.step_scores(logits).sum(1).square().sum((1, 2))  # p(τ)·‖g‖²  [N]
    mean, optimal = float((p * mdp.back).sum()), float((size * mdp.back).sum() / size.sum())
    return {"none": 0.0, "constant": 1.0, "mean": mean, "optimal": optimal}


def variances(mdp: EnumeratedMDP, logits: Tensor) -> dict[str, float]:
    """Of the estimate from one trajectory, by baseline."""
    return {
        name: mean_and_variance(mdp, logits, estimates(mdp, logits, b))[1]
        for name, b in constants(mdp, logits).items()
    }


def reward_to_go(mdp: EnumeratedMDP, logits: Tensor) -> Tensor:
    """Σ_t ∇log π(a_t|s_t) γ^t (G_t − V_t(s_t)): past rewards left out, the state's value as
    baseline.  [S, A] -> [N, S, A]
    """
    ahead = (mdp.worth * mdp.discount).flip(1).cumsum(1).flip(1)  # γ^t G_t  [N, H]
    steps = torch.arange(mdp.horizon)
    expected = mdp.discount * mdp.state_values(logits)[steps, mdp.state]  # [N, H]
    return torch.einsum("nt,ntsa->nsa", ahead - expected, mdp.step_scores(logits))


def baseline_rows(processes: int = 100) -> list[TableRow]:
    """R6: the expected gradient with each baseline, and the order of the variances, on random
    processes of 3 states and 3 steps.
    """
    worst, excess, seen = 0.0, -float("inf"), {}
    for seed in range(processes):
        mdp, logits = random_mdp(3, 2, 3, 0.9, seed)
        exact = mdp.gradient(logits)
        candidates = {name: estimates(mdp, logits, b) for name, b in constants(mdp, logits).items()}
        candidates["state value, reward-to-go"] = reward_to_go(mdp, logits)
        measured = {
            name: mean_and_variance(mdp, logits, estimate) for name, estimate in candidates.items()
        }
        for name, (mean, variance) in measured.items():
            worst = max(worst, float((mean - exact).norm() / exact.norm()))
            seen.setdefault(name, []).append(variance / measured["none"][1])
        others = [measured[name][1] for name in ("none", "constant", "mean")]
        excess = max(excess, measured["optimal"][1] / min(others) - 1)
    means = ", ".join(f"{name} {sum(of) / len(of):.2f}" for name, of in seen.items())
    return [
        TableRow(
            "R6.1", "every baseline, 100 random MDPs", "unbiased (closed form)", worst, 1e-10,
            f"expected gradient is the exact one: largest relative error {worst:.1e}",
        ),
        TableRow(
            "R6.2", "optimal baseline b* = E[‖g‖²r]/E[‖g‖²]",
            "lowest variance of the constant ones (closed form)",
            max(excess, 0.0), 1e-12,
            f"total variance as a share of that without a baseline: {means}",
        ),
    ]  # fmt: skip
