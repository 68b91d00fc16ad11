"""A packed product is the matrix product, and a quantised one is that of the nearest weights of 8
bits.
"""

from __future__ import annotations

import pytest
import torch

from fledge.engine.packed import make_product


def numbers(*size: int) -> torch.Tensor:
    return torch.randn(
        *size, generator=torch.Generator().manual_seed(sum(size)), dtype=torch.float64
    )


def test_product_is_the_matrix_product() -> None:
    weight, x = numbers(37, 19), numbers(15, 19)
    exact = torch.einsum("ai,oi->ao", x, weight)
    # as it is: only float32 and bfloat16 are packed
    torch.testing.assert_close(make_product(weight)(x), exact)
    torch.testing.assert_close(
        make_product(weight.float())(x.float()).double(), exact, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        make_product(weight.bfloat16())(x.bfloat16()).double(), exact, atol=0.2, rtol=0.02
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_follows_a_product_in_the_same_pass_is_what_follows_it(dtype: torch.dtype) -> None:
    weight, x, other = numbers(37, 19), numbers(15, 19), numbers(15, 37)
    exact = torch.einsum("ai,oi->ao", x, weight)
    made = make_product(weight.to(dtype))
    products = (
        made.silu(x.to(dtype)),
        made.multiply(x.to(dtype), other.to(dtype)),
        made.add(x.to(dtype), other),
    )
    for y, z in zip(products, (exact * exact.sigmoid(), exact * other, exact + other), strict=True):
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(y.double(), z, atol=64 * eps, rtol=8 * eps)


def test_a_row_of_a_quantised_product_has_nothing_to_do_with_its_neighbours() -> None:
    made, x = (
        make_product(numbers(24, 32).float(), quantised=True),
        numbers(9, 32).float() * torch.arange(1, 10)[:, None] ** 3,
    )
    assert torch.equal(made(x)[4], made(x[4:5])[0])


def test_a_quantised_weight_is_off_by_half_a_step_at_most() -> None:
    weight = numbers(24, 32).float()
    rounded = make_product(weight, quantised=True)(
        torch.eye(32)
    ).T  # the weights that it multiplies with
    step = weight.abs().amax(1, keepdim=True) / 127
    assert bool(((rounded - weight).abs() <= 0.501 * step).all())
    assert not torch.equal(rounded, weight)
