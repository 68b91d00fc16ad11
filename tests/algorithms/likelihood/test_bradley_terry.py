"""The reward out of comparisons and its posterior, beside autograd's gradient and Hessian."""

from __future__ import annotations

import torch

from fledge.algorithms.likelihood.bradley_terry import fit_bradley_terry


def test_the_posterior_is_where_its_gradient_is_nothing_and_as_wide_as_its_curvature() -> None:
    d = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    posterior = fit_bradley_terry(d, 0.5)
    w = posterior.mean.clone().requires_grad_(True)

    def loss(w: torch.Tensor) -> torch.Tensor:
        return torch.log1p(torch.exp(-(d @ w))).sum() + 0.25 * (w * w).sum()

    [slope] = torch.autograd.grad(loss(w), w)
    assert float(slope.abs().max()) < 1e-7
    curve = torch.autograd.functional.hessian(loss, posterior.mean)
    assert isinstance(curve, torch.Tensor)
    assert torch.allclose(posterior.covariance @ curve, torch.eye(3).double(), atol=1e-8)
    prior = fit_bradley_terry(d[:0], 0.5)
    assert prior.mean.tolist() == [0, 0, 0]
    assert torch.allclose(prior.covariance, 2 * torch.eye(3).double())
