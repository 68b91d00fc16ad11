"""The product of a frozen matrix and its adapters: what the merged matrix gives, and its
derivatives.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.models.language.adapted_product import Update, adapted_product
from fledge.models.language.frozen_weights import FROZEN_WEIGHTS, FrozenWeights, freeze_matrix
from fledge.models.language.hidden_units import ACTIVATIONS, HiddenUnits
from tests.subjects import seeded

# rows of the matrix with an adapter each: all of them, some, none
PLACES = [((0, 4), (4, 7)), ((2, 5),), ((1, 2), (5, 7)), ()]


def numbers(*shape: int, seed: int) -> Tensor:
    drawn = torch.randn(shape, generator=seeded(seed), dtype=torch.float64)
    return drawn.requires_grad_()


def updates_on(places: tuple[tuple[int, int], ...]) -> list[Update]:
    return [
        Update(slice(a, b), 1.5 + a, numbers(2 + a, 6, seed=a), numbers(b - a, 2 + a, seed=10 + a))
        for a, b in places
    ]


@pytest.mark.parametrize("places", PLACES)
def test_it_is_the_product_with_the_merged_matrix(places: tuple[tuple[int, int], ...]) -> None:
    matrix, x = freeze_matrix(numbers(7, 6, seed=1), "fp32"), numbers(2, 5, 6, seed=2)
    updates = updates_on(places)
    merged = matrix.restore(torch.float64).clone()
    for rows, scale, down, up in updates:
        merged[rows] += scale * up @ down
    torch.testing.assert_close(adapted_product(x, matrix, updates), x @ merged.T)


@pytest.mark.parametrize("places", PLACES)
def test_its_derivatives_are_those_of_differences(places: tuple[tuple[int, int], ...]) -> None:
    matrix = freeze_matrix(numbers(7, 6, seed=1), "fp32")
    given = updates_on(places)

    def product(x: Tensor, *factors: Tensor) -> Tensor:
        pairs = pairwise(factors)
        each = [
            Update(old.rows, old.scale, down, up)
            for old, (down, up) in zip(given, list(pairs)[::2], strict=True)
        ]
        return adapted_product(x, matrix, each)

    factors = [factor for update in given for factor in (update.down, update.up)]
    assert torch.autograd.gradcheck(product, (numbers(3, 6, seed=2), *factors))
    fixed = numbers(3, 6, seed=2).detach()  # as what an embedding that does not learn gives
    assert not factors or torch.autograd.gradcheck(product, (fixed, *factors))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hidden_units_are_made_again_with_their_derivative(activation: str, gated: bool) -> None:
    matrix, hidden = freeze_matrix(numbers(7, 6, seed=1), "fp32"), HiddenUnits(activation, gated)
    x = numbers(3, 12 if gated else 6, seed=2)
    [update] = updates_on(((2, 5),))
    merged = matrix.restore(torch.float64).clone()
    merged[2:5] += update.scale * update.up @ update.down
    f = {
        "silu": F.silu,
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "relu": F.relu,
    }
    made = f[activation](x[:, :6]) * x[:, 6:] if gated else f[activation](x)
    torch.testing.assert_close(adapted_product(x, matrix, [update], hidden), made @ merged.T)

    def product(x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        return adapted_product(x, matrix, [update._replace(down=down, up=up)], hidden)

    assert torch.autograd.gradcheck(product, (x, update.down, update.up))


@pytest.mark.parametrize("weights", FROZEN_WEIGHTS)
def test_under_autocast_it_rounds_as_bfloat16_does(weights: FrozenWeights) -> None:
    matrix = freeze_matrix(torch.randn(96, 64, generator=seeded(3)), weights)
    x = torch.randn(40, 64, generator=seeded(4), requires_grad=True)
    down = torch.randn(8, 64, generator=seeded(5)).mul_(0.1).requires_grad_()
    up = torch.randn(96, 8, generator=seeded(6)).mul_(0.1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = adapted_product(x, matrix, [Update(slice(0, 96), 2.0, down, up)])
    assert y.dtype == torch.bfloat16
    exact = (x @ (matrix.restore(torch.float32) + 2.0 * up @ down).T).detach()
    assert (y - exact).norm() < 0.01 * exact.norm()
    g = torch.randn(y.shape, generator=seeded(7))
    y.backward(g.to(y.dtype))
    for mine, theirs in (
        (x.grad, g @ (matrix.restore(torch.float32) + 2.0 * up @ down)),
        (down.grad, 2.0 * up.T @ g.T @ x),
        (up.grad, 2.0 * g.T @ x @ down.T),
    ):
        assert mine is not None
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 0.015 * theirs.norm()
