"""The optimal baseline is the least noisy of all: the variances are computed here, from autograd's
scores.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fledge.exact.mdp import EnumeratedMDP, random_mdp
from fledge.verify.baselines import (
    baseline_rows,
    constants,
    estimates,
    mean_and_variance,
    reward_to_go,
)


def scores(mdp: EnumeratedMDP, logits: Tensor) -> Tensor:
    """∇ log π of whole trajectories.  [N, S·A]"""
    jacobian = torch.autograd.functional.jacobian(
        lambda table: mdp.step_log_prob(table).sum(1), logits
    )
    assert isinstance(jacobian, Tensor)
    return jacobian.flatten(1)


def test_the_optimal_baseline_has_the_lowest_variance_on_100_random_processes() -> None:
    for seed in range(100):
        mdp, logits = random_mdp(3, 2, 3, 0.9, seed)
        p, score = mdp.prob(logits), scores(mdp, logits)
        named = constants(mdp, logits)

        def noise(
            b: float, p: Tensor = p, score: Tensor = score, mdp: EnumeratedMDP = mdp
        ) -> float:
            x = score * (mdp.back - b)[:, None]
            mean = p @ x
            return float(p @ (x - mean).square().sum(1))

        lowest = noise(named["optimal"])
        for name, b in named.items():
            assert lowest <= noise(b) * (1 + 1e-12), name
            assert mean_and_variance(mdp, logits, estimates(mdp, logits, b))[1] == pytest.approx(
                noise(b), rel=1e-9
            )
        for apart in (-0.1, -1e-3, 1e-3, 0.1):
            assert lowest < noise(named["optimal"] + apart)


def test_every_baseline_leaves_the_expected_gradient_as_it_is() -> None:
    for seed in range(20):
        mdp, logits = random_mdp(4, 3, 3, 0.7, seed)
        exact, p = mdp.gradient(logits), mdp.prob(logits)
        every = [estimates(mdp, logits, b) for b in (0.0, 3.0, *constants(mdp, logits).values())]
        for estimate in (*every, reward_to_go(mdp, logits)):
            mean = (p[:, None, None] * estimate).sum(0)
            assert float((mean - exact).norm() / exact.norm()) < 1e-10


def test_the_rows_hold_and_tell_the_order() -> None:
    rows = baseline_rows(10)
    assert all(row.holds for row in rows)
    assert "optimal" in rows[1].statement
