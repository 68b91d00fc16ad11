"""Matrices that are not trained, held in fewer bits: bfloat16, 8 bits with a scale a row, or 4-bit
NormalFloat (Dettmers et al. 2023, QLoRA, §3).

They are brought back to the precision of the product, in the forward pass and once more in the
backward pass, so that a network of frozen matrices costs the memory of their bits alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FrozenWeights = Literal["fp32", "bf16", "int8", "nf4"]
FROZEN_WEIGHTS: tuple[FrozenWeights, ...] = get_args(FrozenWeights)

NF4_BLOCK = 64  # numbers that share a scale
PIECE = 2**18  # numbers rounded at a time: what stands between lies in a core's cache
# The quantiles of a standard normal distribution at which 16 codes are equally often used, scaled
# to [−1, 1], with an exact zero (QLoRA, appendix E).
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip

# A type of twice as many bytes as a number has.
_TWICE = {2: torch.int32, 4: torch.int64, 8: torch.complex128}


class FrozenMatrix(nn.Module, ABC):
    """A weight [O, I] that is not trained. Its numbers are parameters without a gradient, which
    copies of the network share.
    """

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape = tuple(shape)

    @abstractmethod
    def restore(self, dtype: torch.dtype) -> Tensor:
        """[O, I]"""

    def forward(self, x: Tensor) -> Tensor:
        """x Wᵀ, differentiable in x.  [..., I] -> [..., O]"""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        with torch.autocast(x.device.type, enabled=False):
            product: Any = _FrozenProduct.apply(x, self)
        return product


class _FrozenProduct(torch.autograd.Function):
    """Saves nothing: what the backward pass needs is the matrix, which is restored again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: FrozenMatrix) -> Tensor:
        ctx.matrix = matrix
        return x @ matrix.restore(x.dtype).T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient @ ctx.matrix.restore(gradient.dtype), None


def _fix(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.contiguous(), requires_grad=False)


class CastMatrix(FrozenMatrix):
    """In a floating-point type, as it is."""

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        super().__init__(weight.shape)
        self.weight = _fix(weight.detach().to(dtype))

    def restore(self, dtype: torch.dtype) -> Tensor:
        return self.weight.to(dtype)


class Int8Matrix(FrozenMatrix):
    """Round to nearest, a scale a row: |w − ŵ| ≤ max|w_row| / 254."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight.shape)
        scale = torch.empty(len(weight), 1, device=weight.device)
        rounded = torch.empty_like(weight, dtype=torch.int8)
        rows = max(1, PIECE // weight.shape[1])
        for start in range(0, len(weight), rows):
            part = weight.detach()[start : start + rows].float()
            tiny = torch.finfo(torch.float32).tiny
            own = part.abs().amax(1, keepdim=True).clamp(min=tiny) / 127
            scale[start : start + rows] = own
            rounded[start : start + rows] = (part / own).round_()
        self.scale = _fix(scale)  # [O, 1]
        self.weight = _fix(rounded)

    def restore(self, dtype: torch.dtype) -> Tensor:
        return self.weight.to(dtype) * self.scale.to(dtype)


class NF4Matrix(FrozenMatrix):
    """Four bits a number, two numbers a byte, and one scale in float32 for 64 of them: 4.5 bits."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight.shape)
        flat = weight.detach().flatten()
        blocks = -(-flat.numel() // NF4_BLOCK)
        scale = torch.empty(blocks, 1, device=flat.device)
        codes = torch.empty(blocks * NF4_BLOCK // 2, dtype=torch.uint8, device=flat.device)
        for start in range(0, flat.numel(), PIECE):
            part = flat[start : start + PIECE].float()
            own, pairs = _round_nf4(F.pad(part, (0, -len(part) % NF4_BLOCK)).view(-1, NF4_BLOCK))
            scale[start // NF4_BLOCK :][: len(own)] = own
            codes[start // 2 :][: len(pairs)] = pairs
        self.scale = _fix(scale)  # [blocks, 1]
        self.codes = _fix(codes)

    def restore(self, dtype: torch.dtype) -> Tensor:
        table = torch.tensor(NF4, dtype=dtype, device=self.codes.device)
        # Both numbers of a byte by one look-up, as one number of twice their size: on a CPU rows of
        # two numbers take 18 times as long.
        pairs = torch.cartesian_prod(table, table).view(_TWICE[table.itemsize]).flatten()  # [256]
        restored = pairs.index_select(0, self.codes.int()).view(dtype)
        blocks = restored.view(-1, NF4_BLOCK).mul_(self.scale.to(dtype))
        rows, columns = self.shape
        return blocks.flatten()[: rows * columns].view(rows, columns)


def _round_nf4(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and codes, two of them a byte.  [N, NF4_BLOCK] -> [N, 1], [N·NF4_BLOCK/2]"""
    scale = blocks.abs().amax(1, keepdim=True)
    table = torch.tensor(NF4, device=blocks.device)
    # The nearest code is the one between whose neighbours' midpoints the number lies.
    middles = (table[1:] + table[:-1]) / 2
    along = blocks / scale.clamp(min=torch.finfo(torch.float32).tiny)
    codes = torch.bucketize(along, middles, out_int32=True).to(torch.uint8).flatten()
    return scale, codes[::2] << 4 | codes[1::2]


def freeze_matrix(weight: Tensor, kind: FrozenWeights) -> FrozenMatrix:
    """weight [O, I]"""
    if kind == "int8":
        return Int8Matrix(weight)
    if kind == "nf4":
        return NF4Matrix(weight)
    return CastMatrix(weight, torch.bfloat16 if kind == "bf16" else weight.dtype)


def bits_per_weight(kind: FrozenWeights) -> float:
    """What a matrix costs, scales of whole rows left out."""
    return {"fp32": 32.0, "bf16": 16.0, "int8": 8.0, "nf4": 4.0 + 32 / NF4_BLOCK}[kind]
