"""EM of a mixture in closed form, held to torch's own densities and to the definition of a
maximum.
"""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from fledge.exact.mixture import Mixture

POINTS = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
START = Mixture(
    *(torch.tensor(x, dtype=torch.float64) for x in ([0.3, 0.7], [-1.0, 0.5], [1.0, 2.0]))
)


def likelihood(mixture: Mixture) -> float:
    normal = Normal(mixture.mean, mixture.variance.sqrt())
    return float(MixtureSameFamily(Categorical(mixture.weight), normal).log_prob(POINTS).sum())


def test_the_log_likelihood_is_torchs() -> None:
    assert START.log_likelihood(POINTS) == pytest.approx(likelihood(START))


def test_a_step_maximises_the_expected_log_joint_and_never_lowers_the_likelihood() -> None:
    mixture = START
    for _ in range(30):
        responsibility = (
            mixture.joint(POINTS) - mixture.joint(POINTS).logsumexp(1, keepdim=True)
        ).exp()
        after = mixture.em_step(POINTS)
        assert after.weight.sum().item() == pytest.approx(1)
        leaves = [x.clone().requires_grad_(True) for x in (after.mean, after.variance)]
        (responsibility * Mixture(after.weight, *leaves).joint(POINTS)).sum().backward()
        assert all(float(x.grad.abs().max()) < 1e-9 for x in leaves if x.grad is not None)
        assert likelihood(after) >= likelihood(mixture) - 1e-12
        mixture = after
