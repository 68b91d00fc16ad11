"""A packed product is the matrix product, and a quantised one is that of the nearest weights of 8
bits.
"""

from __future__ import annotations

import pytest
import torch

from fledge.engine import packed
from fledge.engine.four_bits import GROUP, make_four_bit_product, quantise, restore
from fledge.engine.packed import (
    HalfProduct,
    PackedProduct,
    QuantisedProduct,
    can_pack,
    make_product,
)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_follows_a_product_in_the_same_pass_is_what_follows_it(dtype: torch.dtype) -> None:
    weight, x, other = numbers(37, 19), numbers(15, 19), numbers(15, 37)
    exact = torch.einsum("ai,oi->ao", x, weight)
    if not can_pack(dtype):
        pytest.skip("this processor multiplies nothing packed of this type")
    made = PackedProduct(weight.to(dtype))
    products = (
        made.silu(x.to(dtype)),
        made.multiply(x.to(dtype), other.to(dtype)),
        made.add(x.to(dtype), other),
    )
    for y, z in zip(products, (exact * exact.sigmoid(), exact * other, exact + other), strict=True):
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(y.double(), z, atol=64 * eps, rtol=8 * eps)


def test_what_a_plain_product_is_added_to() -> None:
    weight, x, other = numbers(37, 19), numbers(15, 19), numbers(15, 37)
    torch.testing.assert_close(make_product(weight).add(x, other), x @ weight.T + other)


@pytest.mark.parametrize("rows", [1, 4, 40])
def test_a_half_product_is_that_of_the_weights_in_float16(rows: int) -> None:
    weight, x = numbers(37, 19).float(), numbers(rows, 19).float()
    exact = torch.einsum("ai,oi->ao", x.double(), weight.half().double())
    made = HalfProduct(weight)
    torch.testing.assert_close(made(x).double(), exact, atol=1e-5, rtol=1e-5)
    assert (made(x) - x @ weight.T).abs().max() > 1e-5  # it does round


def test_where_bytes_do_not_multiply_exactly_weights_are_rounded_and_x_to_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight, x = numbers(32, 64).float(), numbers(9, 64).float()
    monkeypatch.setattr(packed, "bytes_multiply_exactly", lambda: False)
    exact = torch.einsum("ai,oi->ao", x.double(), weight.double())
    y = QuantisedProduct(weight)(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double(), exact, atol=0.3, rtol=0.02)


def test_a_row_of_a_quantised_product_has_nothing_to_do_with_its_neighbours() -> None:
    made, x = (
        QuantisedProduct(numbers(24, 32).float()),
        numbers(9, 32).float() * torch.arange(1, 10)[:, None] ** 3,
    )
    assert torch.equal(made(x)[4], made(x[4:5])[0])


def test_a_number_hundreds_of_times_larger_spoils_none_of_the_others() -> None:
    """The weights' own rounding apart, x is as exact as 16 bits."""
    made, x = QuantisedProduct(numbers(24, 32).float()), numbers(9, 32).float()
    x[:, 3] = 300.0
    weight = made(torch.eye(32)).T.double()
    exact = x.double() @ weight.T
    assert float((made(x).double() - exact).abs().max()) < 300 * 2**-15 * 32 * 3


def test_a_quantised_weight_is_off_by_half_a_step_at_most() -> None:
    weight = numbers(24, 32).float()
    rounded = QuantisedProduct(weight)(torch.eye(32)).T  # the weights that it multiplies with
    step = weight.abs().amax(1, keepdim=True) / 127
    assert bool(((rounded - weight).abs() <= 0.501 * step).all())
    assert not torch.equal(rounded, weight)


def test_a_weight_of_four_bits_is_off_by_half_a_step_at_most() -> None:
    weight = numbers(48, 4 * GROUP).float() + 3  # zeros of their own
    codes, both = quantise(weight)
    assert int(codes.min()) >= 0
    assert int(codes.max()) <= 15
    groups = weight.unflatten(1, (-1, GROUP))
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    # a scale and a zero in 8 bits: of numbers around 3 the zero may be off by 3 · 2⁻⁹ more
    off = (restore(codes, both) - weight).abs().unflatten(1, (-1, GROUP)).amax(-1)
    assert bool((off <= 0.5 * step + 0.02 * groups.abs().amax(-1)).all())
    assert float(off.max()) > 0.1 * float(step.max())  # it does round


@pytest.mark.parametrize("shape", [(16, GROUP), (96, 4 * GROUP), (48, 2 * GROUP), (37, GROUP)])
@pytest.mark.parametrize("rows", [1, 5, 70])
def test_a_product_of_four_bits_is_that_of_the_weights_as_they_are_rounded(
    shape: tuple[int, int], rows: int
) -> None:
    """Against the dense product, in float64, of (code − 8) · scale + zero; the last shape has no
    kernel. What comes out is rounded to bfloat16.
    """
    weight, x = numbers(*shape).float(), numbers(rows, shape[1]).bfloat16()
    codes, both = quantise(weight)
    exact = torch.zeros(rows, shape[0], dtype=torch.float64)
    for group in range(shape[1] // GROUP):
        part = slice(group * GROUP, (group + 1) * GROUP)
        scale, zero = both[group].double().unbind(1)
        rounded = (codes[:, part].double() - 8) * scale[:, None] + zero[:, None]
        exact += x[:, part].double() @ rounded.T
    y = make_four_bit_product(weight)(x)
    torch.testing.assert_close(y.double(), exact, rtol=2**-7, atol=2**-7 * float(exact.std()))
    alone = make_four_bit_product(weight)(x[:1])
    assert torch.equal(alone[0], y[0])  # a row has nothing to do with its neighbours


def test_a_row_that_no_group_divides_is_multiplied_as_it_is() -> None:
    weight, x = numbers(37, 19), numbers(15, 19)
    exact = torch.einsum("ai,oi->ao", x, weight)
    y = make_four_bit_product(weight)(x.bfloat16())
    torch.testing.assert_close(y.double(), exact, atol=0.2, rtol=0.02)
