"""Matrices in few bits: the numbers are ggml's, and rounding by inputs is the optimal brain
quantiser's, computed here by inverting what is left at every column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fledge.models.language.quantisation import (
    INT4,
    INT8,
    Grid,
    measure_error,
    round_by_inputs,
    round_to_nearest,
)
from tests.subjects import seeded

GRIDS = pytest.mark.parametrize("grid", [INT8, INT4], ids=lambda grid: grid.name)


def draw_weight(rows: int = 5, columns: int = 160, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=seeded(seed))


def draw_inputs(columns: int = 160, seed: int = 1) -> Tensor:
    """Inputs that hang together, as those of a layer do, and one that is always 0.  [N, I]"""
    mixed = torch.randn(40, columns, generator=seeded(seed + 1))
    x = torch.randn(400, 40, generator=seeded(seed)) @ mixed
    x += 0.1 * torch.randn(x.shape, generator=seeded(seed + 2))
    x[:, 7] = 0
    return x


def square(x: Tensor) -> Tensor:
    return x.double().T @ x.double()


@GRIDS
def test_nearest_numbers_are_those_of_the_gguf_package(grid: Grid) -> None:
    gguf: Any = pytest.importorskip("gguf")
    weight = draw_weight(64, 96) * torch.rand(64, 1, generator=seeded(2)) * 10
    weight[3] = 0
    kind = gguf.GGMLQuantizationType[grid.name]
    theirs = gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), kind), kind)
    assert np.array_equal(round_to_nearest(weight, grid).restore().numpy(), theirs)


def test_eight_bits_are_half_a_step_away_at_the_most() -> None:
    weight = draw_weight()
    rounded = round_to_nearest(weight, INT8)
    step = weight.unflatten(1, (-1, 32)).abs().amax(2) / 127
    away = (weight - rounded.restore()).unflatten(1, (-1, 32)).abs().amax(2)
    # half a step, and what a scale loses in float16, 127 times
    assert bool((away <= step * (0.5 + 127 * 2**-11) * 1.0001).all())


def nearest(number: float, scale: float, grid: Grid) -> int:
    """ggml's rule for one number: halves go away from 0 in Q8_0, up in Q4_0."""
    steps = number / scale if scale else 0.0
    if grid is INT8:
        return int(np.sign(steps) * np.floor(abs(steps) + 0.5))
    return int(np.clip(np.floor(steps + 8.5) - 8, -8, 7))


def quantise_brain(row: np.ndarray, products: np.ndarray, grid: Grid) -> np.ndarray:
    """Frantar & Alistarh 2022 (OBC), eq. 7, columns in order: every step inverts the products of
    the columns that are left.
    """
    w, said = row.astype(np.float64).copy(), np.zeros(len(row))
    scale = 0.0
    for j in range(len(w)):
        if j % 32 == 0:
            block = w[j : j + 32].astype(np.float32)
            largest = block[np.abs(block).argmax()]
            scale = float(abs(largest) / 127 if grid is INT8 else largest / -8)
        said[j] = nearest(w[j], scale, grid) * float(np.float16(scale))
        left = np.linalg.inv(products[j:, j:])
        w[j:] -= (w[j] - said[j]) / left[0, 0] * left[0]
    return said


@GRIDS
def test_rounding_by_inputs_is_the_optimal_brain_quantiser(grid: Grid) -> None:
    weight, products = draw_weight(), square(draw_inputs())
    damped = products.numpy().copy()
    damped[np.diag_indices(160)] += 0.01 * np.diag(damped).mean()
    said = round_by_inputs(weight, products, grid).restore().double().numpy()
    plain = round_to_nearest(weight, grid).restore().double().numpy()
    same = 0
    for row, ours, other in zip(weight.double().numpy(), said, plain, strict=True):
        theirs = quantise_brain(row, damped, grid)
        lost, wanted, nearest = (
            (row - each) @ products.numpy() @ (row - each) for each in (ours, theirs, other)
        )
        # A number half-way between two codes may go to either: then so do those after it.
        assert lost == pytest.approx(min(wanted, nearest), rel=0.05)
        same += np.allclose(ours, theirs, rtol=1e-6, atol=1e-9)
    assert same >= 3


@GRIDS
def test_inputs_that_do_not_hang_together_leave_the_nearest(grid: Grid) -> None:
    weight = draw_weight()
    by_inputs = round_by_inputs(weight, 3 * torch.eye(160), grid)
    assert torch.equal(by_inputs.restore(), round_to_nearest(weight, grid).restore())


@GRIDS
@pytest.mark.parametrize("seed", range(4))
def test_no_row_is_worse_than_rounded_to_the_nearest(grid: Grid, seed: int) -> None:
    weight, x = draw_weight(seed=seed), draw_inputs(seed=10 * seed)
    answers = x.double() @ weight.double().T  # [N, O]
    losses = [
        (answers - x.double() @ rounded.restore().double().T).square().sum(0)
        for rounded in (round_by_inputs(weight, square(x), grid), round_to_nearest(weight, grid))
    ]
    assert bool((losses[0] <= losses[1] * (1 + 1e-4)).all())
    assert losses[0].sum() < 0.5 * losses[1].sum()


def test_error_is_that_of_the_outputs() -> None:
    weight, x = draw_weight(), draw_inputs()
    other = weight + 0.1 * draw_weight(seed=9)
    direct = (x.double() @ (weight - other).double().T).square().sum(0)
    said = measure_error(weight, other, square(x))
    torch.testing.assert_close(said, direct, rtol=1e-4, atol=1e-4)


def test_inputs_that_are_all_zero() -> None:
    weight = draw_weight()
    rounded = round_by_inputs(weight, torch.zeros(160, 160), INT4)
    assert torch.equal(rounded.restore(), round_to_nearest(weight, INT4).restore())
