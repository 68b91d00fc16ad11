"""A packed product is the matrix product, and a quantised one is that of the nearest weights of 8 bits."""

from __future__ import annotations

import torch

from fledge.models.packed import product


def numbers(*size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(sum(size)), dtype=torch.float64)


def test_product_is_the_matrix_product() -> None:
    weight, x = numbers(37, 19), numbers(15, 19)
    exact = torch.einsum("ai,oi->ao", x, weight)
    torch.testing.assert_close(product(weight)(x), exact)  # as it is: only float32 and bfloat16 are packed
    torch.testing.assert_close(product(weight.float())(x.float()).double(), exact, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(product(weight.bfloat16())(x.bfloat16()).double(), exact, atol=0.2, rtol=0.02)


def test_a_quantised_weight_is_off_by_half_a_step_at_most() -> None:
    weight = numbers(24, 32).float()
    found = product(weight, quantised=True)(torch.eye(32)).T  # the weights that it multiplies with
    step = weight.abs().amax(1, keepdim=True) / 127
    assert bool(((found - weight).abs() <= 0.501 * step).all())
    assert not torch.equal(found, weight)
