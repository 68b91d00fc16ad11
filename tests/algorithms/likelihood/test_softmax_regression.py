"""Softmax regression beside autograd and the spread of its posterior."""

from __future__ import annotations

import torch
from torch.autograd.functional import hessian as differentiate

from fledge.algorithms.likelihood.softmax_regression import draw_weights, fit_softmax


def test_it_ends_where_the_slope_is_nothing_and_its_hessian_is_the_losses() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, dtype=torch.float64, generator=random)
    label = torch.randint(4, (12,), generator=random)

    def loss(flat: torch.Tensor) -> torch.Tensor:
        weight = flat.view(3, 4)
        nll = torch.nn.functional.cross_entropy(x @ weight, label, reduction="sum")
        return nll + 0.5 * 0.3 * weight.square().sum()

    weight, hessian = fit_softmax(x, label, torch.zeros(3, 4, dtype=torch.float64), 0.3)
    flat = weight.flatten().requires_grad_(True)
    [slope] = torch.autograd.grad(loss(flat), flat)
    assert float(slope.abs().max()) < 1e-8
    exact = differentiate(loss, weight.flatten())
    assert isinstance(exact, torch.Tensor)
    assert torch.allclose(hessian, exact, atol=1e-9)


def test_draws_have_the_covariance_that_the_hessian_says() -> None:
    """20,000 draws: a covariance of size v is off by some v √(2/20000) = 0.01 v; 6 of those."""
    random = torch.Generator().manual_seed(1)
    root = torch.randn(4, 4, dtype=torch.float64, generator=random)
    hessian = root @ root.T + torch.eye(4)
    middle = torch.randn(2, 2, dtype=torch.float64, generator=random)
    drawn = draw_weights(middle, hessian, 20_000, random).flatten(1)
    exact = torch.linalg.inv(hessian)
    size = float(exact.diagonal().max())
    assert float((torch.cov(drawn.T) - exact).abs().max()) < 0.06 * size
    assert float((drawn.mean(0) - middle.flatten()).abs().max()) < 0.05 * size**0.5
