"""Frozen matrices in fewer bits: within their bound, and differentiable in what goes in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fledge.models.language.frozen_weights import (
    FROZEN_WEIGHTS,
    NF4,
    PIECE,
    FrozenWeights,
    bits_per_weight,
    freeze_matrix,
)
from tests.subjects import seeded

WEIGHT = torch.randn(48, 80, generator=seeded(0))
# Rounded in two pieces and a part of a third.
LONG = torch.randn(2 * PIECE // 128 + 5, 128, generator=seeded(0))


@pytest.mark.parametrize("kind", FROZEN_WEIGHTS)
def test_the_product_is_that_of_the_restored_matrix(kind: FrozenWeights) -> None:
    matrix = freeze_matrix(WEIGHT, kind)
    x = torch.randn(5, 80, generator=seeded(1), requires_grad=True)
    y = matrix(x)
    whole = matrix.restore(torch.float32)
    torch.testing.assert_close(y, x @ whole.T)
    given = torch.randn(y.shape, generator=seeded(2))
    y.backward(given)
    torch.testing.assert_close(x.grad, given @ whole)
    assert not any(p.requires_grad for p in matrix.parameters())


@pytest.mark.parametrize("weight", [WEIGHT, LONG], ids=["one piece", "pieces"])
def test_eight_bits_are_within_their_bound(weight: Tensor) -> None:
    off = (freeze_matrix(weight, "int8").restore(torch.float32) - weight).abs()
    assert bool((off.amax(1) <= weight.abs().amax(1) / 254 * (1 + 1e-5)).all())


@pytest.mark.parametrize("weight", [WEIGHT, LONG], ids=["one piece", "pieces"])
def test_four_bits_take_the_nearest_code(weight: Tensor) -> None:
    restored = freeze_matrix(weight, "nf4").restore(torch.float32).flatten().view(-1, 64)
    blocks = weight.flatten().view(-1, 64)
    largest = blocks.abs().amax(1, keepdim=True)
    each = largest[..., None] * torch.tensor(NF4)  # every number that could have been taken
    nearest = (blocks[..., None] - each).abs().amin(-1)
    torch.testing.assert_close((restored - blocks).abs(), nearest, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(3, 5), (1, 64), (7, 129)])
def test_four_bits_of_any_shape(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=seeded(3))
    restored = freeze_matrix(weight, "nf4").restore(torch.float32)
    assert restored.shape == shape
    assert float((restored - weight).abs().max()) < 0.2 * float(weight.abs().max())


@pytest.mark.parametrize("kind", FROZEN_WEIGHTS)
def test_the_memory_is_what_is_said(kind: FrozenWeights) -> None:
    weight = torch.randn(256, 256, generator=seeded(4))
    held = sum(p.numel() * p.itemsize for p in freeze_matrix(weight, kind).parameters())
    rows = 256 * 4 if kind == "int8" else 0  # a scale a row
    assert held == weight.numel() * bits_per_weight(kind) / 8 + rows


def test_the_codes_are_quantiles_of_the_normal_distribution() -> None:
    # Dettmers et al. 2023, appendix E: eight above zero, seven below, the outermost at 1.
    outermost = 0.9677083
    above = torch.special.ndtri(torch.linspace(outermost, 0.5, 9, dtype=torch.float64))[:-1]
    below = -torch.special.ndtri(torch.linspace(outermost, 0.5, 8, dtype=torch.float64))[:-1]
    codes = torch.cat([below / above[0], torch.zeros(1), (above / above[0]).flip(0)])
    torch.testing.assert_close(torch.tensor(NF4, dtype=torch.float64), codes, atol=1e-5, rtol=0)
