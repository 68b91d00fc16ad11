"""Matrices rounded to few bits, a scale for every 32 numbers: each to the nearest code, or so that
the layer answers given inputs as before (GPTQ, Frantar et al. 2022).

The codes and scales are those of ggml's Q8_0 and Q4_0, so that a GGUF file holds the very numbers
that were chosen here (https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 32  # numbers that share a scale
_COLUMNS = 128  # whose errors are handed on together (Frantar et al. 2022, §3.3)
_DAMPING = 0.01  # of the mean of the diagonal, added to it (ibid.)


@dataclass(frozen=True)
class Grid:
    """Whole codes from low to high, times a scale.

    name: ggml's. reach: what a block's largest number becomes. symmetric: it does so on either
    side of 0, so that one code is not used.
    """

    name: str
    low: int
    high: int
    reach: int

    def choose_scale(self, blocks: Tensor) -> Tensor:
        """By the number that is largest in size.  [..., 32] -> [..., 1]"""
        at = blocks.abs().argmax(-1, keepdim=True)
        largest = blocks.gather(-1, at)
        return (largest.abs() if self.reach > 0 else largest) / self.reach

    def round(self, numbers: Tensor, scale: Tensor) -> Tensor:
        """The nearest codes, as floating-point numbers."""
        steps = numbers * torch.where(scale == 0, 0.0, 1 / scale)
        if self.reach > 0:  # halves away from zero
            nearest = steps.sign() * (steps.abs() + 0.5).floor()
        else:
            nearest = (steps + (0.5 - self.low)).floor() + self.low
        return nearest.clamp(self.low, self.high)


INT8 = Grid("Q8_0", -127, 127, reach=127)
INT4 = Grid("Q4_0", -8, 7, reach=-8)


class Rounded(NamedTuple):
    """A matrix, or several above each other. codes: int8 [..., I]; scale: float16 [..., I / 32]."""

    grid: Grid
    codes: Tensor
    scale: Tensor

    def restore(self) -> Tensor:
        """float32 [..., I]"""
        return self.codes * self.scale.float().repeat_interleave(BLOCK, -1)


def fits_blocks(weight: Tensor) -> bool:
    """Whether its rows are whole blocks."""
    return weight.ndim >= 2 and weight.shape[-1] % BLOCK == 0


def round_to_nearest(weight: Tensor, grid: Grid) -> Rounded:
    """Every number for itself.  [..., I]"""
    blocks = weight.detach().float().unflatten(-1, (-1, BLOCK))
    scale = grid.choose_scale(blocks)
    codes = grid.round(blocks, scale).to(torch.int8).flatten(-2)
    return Rounded(grid, codes, scale.squeeze(-1).to(torch.float16))


def round_by_inputs(weight: Tensor, products: Tensor, grid: Grid) -> Rounded:
    """Column after column; what the rounding of one changes in the outputs is made good, as far as
    it can be, by those that are not rounded yet: w ← w − (w_j − ŵ_j) / [H⁻¹]_jj · [H⁻¹]_j, with H
    over the columns that are left (Frantar et al. 2022, eq. 2 and 3, algorithm 1).

    weight [O, I]. products: H = Σ x xᵀ of the inputs, [I, I]. Rows for which rounding to the
    nearest changes the outputs less, Σ ((w − ŵ)·x)², are rounded so: no row is worse than that.
    """
    upper = _invert(products.double()).float()
    work = weight.detach().float().clone()
    rows, columns = work.shape
    codes = torch.empty(rows, columns, dtype=torch.int8, device=work.device)
    scales = work.new_zeros(rows, columns // BLOCK)
    for begin in range(0, columns, _COLUMNS):
        end = min(begin + _COLUMNS, columns)
        part, errors = work[:, begin:end], work.new_zeros(rows, end - begin)
        for at in range(begin, end):
            j, block = at - begin, at // BLOCK
            if at % BLOCK == 0:
                scales[:, block : block + 1] = grid.choose_scale(part[:, j : j + BLOCK])
            scale = scales[:, block]
            code = grid.round(part[:, j], scale)
            codes[:, at] = code.to(torch.int8)
            errors[:, j] = (part[:, j] - code * scale.half().float()) / upper[at, at]
            part[:, j + 1 :] -= errors[:, j : j + 1] * upper[at, at + 1 : end]
        work[:, end:] -= errors @ upper[begin:end, end:]
    ours = Rounded(grid, codes, scales.half())
    return _choose_rows(weight, products, ours, round_to_nearest(weight, grid))


def _invert(products: Tensor) -> Tensor:
    """U with UᵀU = (H + damping)⁻¹, upper triangular: row j has [H⁻¹]_j over √[H⁻¹]_jj of what is
    left when columns before j are rounded.
    """
    damped = products.clone()
    diagonal = damped.diagonal()
    diagonal += _DAMPING * diagonal.mean()
    diagonal[diagonal == 0] = 1.0  # no input at all: nothing to make good
    # H = RRᵀ with R upper, which is Cholesky's factor read from the other end; then U = R⁻¹.
    factor = torch.linalg.cholesky(damped.flip(0, 1)).flip(0, 1)
    one = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, one, upper=True)


def measure_error(weight: Tensor, rounded: Tensor, products: Tensor) -> Tensor:
    """Σ ((w − ŵ)·x)² over the inputs, of each row: diag((W − Ŵ) H (W − Ŵ)ᵀ).  -> [O]"""
    away = weight.detach().float() - rounded
    return ((away @ products.float()) * away).sum(-1, dtype=torch.float64)


def _choose_rows(weight: Tensor, products: Tensor, one: Rounded, other: Rounded) -> Rounded:
    worse = [measure_error(weight, each.restore(), products) for each in (one, other)]
    better = (worse[0] <= worse[1])[:, None]
    return Rounded(
        one.grid, one.codes.where(better, other.codes), one.scale.where(better, other.scale)
    )
