"""A matrix product for generation: a weight that no longer changes, laid out once for many products
with few rows.

A product of some ten rows with a weight matrix spends most of its time bringing the matrix into the
order its inner loop reads; oneDNN can be handed the matrix in that order. With 32 rows that is 1.2
to 2.4 times as fast (torch 2.13, two Zen 4 cores). It takes the memory of the weights a second
time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# The operators that torch.compile, too, emits for a frozen linear layer.
onednn: Any = torch.ops.mkldnn
# By its name, which the stubs do not know.
int8_product: Any = getattr(torch, "_weight_int8pack_mm")  # noqa: B009


class Product:
    """x ↦ x Wᵀ, and what a transformer does to the result at once.  weight [O, I]: [N, I] -> [N,
    O]. Not differentiable.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.detach()

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.weight.T

    def silu(self, x: Tensor) -> Tensor:
        return F.silu(self(x))

    def multiply(self, x: Tensor, other: Tensor) -> Tensor:
        """x Wᵀ · other.  other [N, O]"""
        return self(x).mul_(other)

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        """x Wᵀ + other, in the precision of `other`.  [N, O]"""
        return other + self(x)


class PackedProduct(Product):
    """In oneDNN's order, and with what follows in the same pass over the result."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = onednn._reorder_linear_weight(weight.detach(), None)

    def __call__(self, x: Tensor) -> Tensor:
        return onednn._linear_pointwise(x, self.weight, None, "none", [], "")

    def silu(self, x: Tensor) -> Tensor:
        return onednn._linear_pointwise(x, self.weight, None, "swish", [], "")

    def multiply(self, x: Tensor, other: Tensor) -> Tensor:
        return onednn._linear_pointwise.binary(x, other, self.weight, None, "mul")

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        if x.dtype != other.dtype:
            return other + self(x)
        return onednn._linear_pointwise.binary(x, other, self.weight, None, "add")


class QuantisedProduct(Product):
    """Weights in 8 bits, round to nearest, a scale per output row: ‖W − Ŵ‖∞ ≤ max|W_row| / 254.

    On a CPU with exact 8-bit dot products x is rounded to 8 bits too, with a scale per row, so that
    a row's result has nothing to do with its neighbours; elsewhere x stays as it is.
    """

    def __init__(self, weight: Tensor) -> None:
        weight = weight.detach().float()
        self.scale = weight.abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny) / 127  # [O]
        small = (weight / self.scale[:, None]).round().to(torch.int8)
        self.dot_products = weight.device.type == "cpu" and bytes_multiply_exactly()
        self.weight = torch.ops.onednn.qlinear_prepack(small, None) if self.dot_products else small
        self.zero = torch.zeros(len(small), dtype=torch.long, device=weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        if not self.dot_products:
            return int8_product(x, self.weight, self.scale)
        largest = x.abs().amax(1, keepdim=True)
        step = largest.clamp_(min=torch.finfo(x.dtype).tiny).div_(127)  # [N, 1]
        small = (x / step).round_().add_(128).to(torch.uint8)
        y = torch.ops.onednn.qlinear_pointwise(
            small,
            1.0,
            128,
            self.weight,
            self.scale,
            self.zero,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return y.mul_(step)


def make_product(weight: Tensor) -> Product:
    """The fastest there is for this weight and device, which rounds nothing."""
    packable = weight.device.type == "cpu" and can_pack(weight.dtype)
    return PackedProduct(weight) if packable else Product(weight)


# Both are tried and not asked: what torch says of the processor overlooks ONEDNN_MAX_CPU_ISA, and
# oneDNN's own conditions.


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies packed weights of this type here: bfloat16 needs AVX-512, or
    conversions of its own.
    """
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    ones = torch.ones(16, 16, dtype=dtype)
    try:
        onednn._linear_pointwise(
            ones, onednn._reorder_linear_weight(ones, None), None, "none", [], ""
        )
    except RuntimeError:
        return False
    return True


@cache
def bytes_multiply_exactly() -> bool:
    """Whether oneDNN's product of 8-bit numbers is exact here: without VNNI it adds pairs in 16
    bits, which overflow.
    """
    if not torch.cpu._is_vnni_supported():
        return False
    size, most = 64, torch.full((1, 64), 255, dtype=torch.uint8)
    weight = torch.full((16, size), 127, dtype=torch.int8)
    packed, scale = torch.ops.onednn.qlinear_prepack(weight, None), torch.ones(16)
    zero = torch.zeros(16, dtype=torch.long)
    y = torch.ops.onednn.qlinear_pointwise(
        most, 1.0, 0, packed, scale, zero, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return bool((y == 255 * 127 * size).all())
