"""Chains say what the distribution is."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from fledge.algorithms.latent.metropolis import Metropolis


def test_a_long_chain_is_of_the_target() -> None:
    """Student's t of five degrees beside a normal of deviation 3."""

    def log_joint(z: Tensor) -> Tensor:
        return -3 * torch.log1p(z[:, 0].square() / 5) - z[:, 1].square() / 18

    random = torch.Generator().manual_seed(1)
    chain = Metropolis(log_joint, torch.zeros(400, 2, dtype=torch.float64), random)
    kept, shares = [], []
    for step in range(1200):
        shares.append(chain.step())
        chain.adapting = step < 300
        if step > 400 and step % 40 == 0:
            kept.append(chain.z)
    z = torch.cat(kept)
    assert 0.2 < sum(shares[300:]) / 900 < 0.4
    # neighbours 40 steps apart are not quite independent: a fifth of them is asked
    assert stats.kstest(z[::5, 0].numpy(), stats.t(5).cdf).pvalue > 1e-5
    assert stats.kstest(z[::5, 1].numpy(), stats.norm(0, 3).cdf).pvalue > 1e-5
    assert float(z[:, 1].std()) == pytest.approx(3, rel=0.1)
