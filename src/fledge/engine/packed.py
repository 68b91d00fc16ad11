"""A matrix product for generation: a weight that no longer changes, laid out once for many products
with few rows.

A product of some ten rows with a weight matrix spends most of its time bringing the matrix into the
order its inner loop reads; oneDNN can be handed the matrix in that order. With 32 rows that is 1.2
to 2.4 times as fast (torch 2.13, two Zen 4 cores). It takes the memory of the weights a second
time.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

# The operators that torch.compile, too, emits for a frozen linear layer.
onednn: Any = torch.ops.mkldnn
fbgemm: Any = torch.ops.quantized
# By their names, which the stubs do not know.
int8_product: Any = getattr(torch, "_weight_int8pack_mm")  # noqa: B009
make_quantised: Any = getattr(torch, "_make_per_channel_quantized_tensor", None)


class Product:
    """x ↦ x Wᵀ, and what a transformer does to the result at once.  weight [O, I]: [N, I] -> [N,
    O]. Not differentiable.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.detach()

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.weight.T

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
        """x Wᵀ · other.  other [N, O]"""
        return onednn._linear_pointwise.binary(x, other, self.weight, None, "mul")

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        if x.dtype != other.dtype:
            return other + self(x)
        return onednn._linear_pointwise.binary(x, other, self.weight, None, "add")


class QuantisedProduct(Product):
    """Weights in 8 bits, round to nearest, a scale per output row: ‖W − Ŵ‖∞ ≤ max|W_row| / 254.

    On a CPU with exact 8-bit dot products x comes in two parts of 8 bits, with a scale per row, so
    that a row's result has nothing to do with its neighbours: its nearest step, and what is left,
    as a row of its own. The weights are read once for both, which costs nothing where few rows wait
    for memory. One part alone is too coarse: trained networks have a few numbers in a row that are
    hundreds of times larger than the others (0.43 nats of drift on SmolLM2, 0.1 with both).
    Elsewhere x is rounded to bfloat16. FBGEMM's product takes half of the time of oneDNN's for up
    to 8 rows.
    """

    def __init__(self, weight: Tensor) -> None:
        weight = weight.detach().float()
        self.scale = weight.abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny) / 127  # [O]
        small = (weight / self.scale[:, None]).round().to(torch.int8)
        self.dot_products = weight.device.type == "cpu" and bytes_multiply_exactly()
        self.weight = pack_bytes(small, self.scale) if self.dot_products else small

    def __call__(self, x: Tensor) -> Tensor:
        if not self.dot_products:
            return int8_product(x.bfloat16(), self.weight, self.scale.bfloat16()).float()
        if x.dtype != torch.float32:
            x = x.float()
        step = x.abs().amax(1, keepdim=True).clamp_(min=torch.finfo(x.dtype).tiny).div_(127)
        exact = x / step
        nearest = exact.round()
        parts = torch.cat([nearest, exact.sub_(nearest).mul_(254)])  # [2 N, I]
        y, rest = multiply_bytes(parts, self.weight).chunk(2)
        return torch.add(y, rest, alpha=1 / 254).mul_(step)


class HalfProduct(Product):
    """Weights in float16, x in float32: with up to four rows 1.5 times as fast as bfloat16, whose
    product rounds x too; with many rows as slow as float32.
    """

    def __init__(self, weight: Tensor) -> None:
        weight = weight.detach().float()
        self.packed = weight.device.type == "cpu" and can_pack_half()
        self.weight = fbgemm.linear_prepack_fp16(weight, None) if self.packed else weight.half()

    def __call__(self, x: Tensor) -> Tensor:
        if not self.packed:
            return (x.half() @ self.weight.T).float()
        if x.dtype != torch.float32:
            x = x.float()
        return fbgemm.linear_dynamic_fp16(x, self.weight)


def pack_bytes(small: Tensor, scale: Tensor) -> Any:
    """Weights int8 [O, I] with a scale a row, in FBGEMM's order."""
    zero = torch.zeros(len(small), dtype=torch.long)
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"  # packing goes by it, multiplying by what was packed
    try:
        with warnings.catch_warnings():
            # A later torch will have no such tensors: then `bytes_multiply_exactly` says no.
            warnings.simplefilter("ignore", UserWarning)
            weight = make_quantised(small, scale.double(), zero, 0)
        return fbgemm.linear_prepack(weight, None)
    finally:
        torch.backends.quantized.engine = before


def multiply_bytes(x: Tensor, packed: Any) -> Tensor:
    """x, rounded to whole numbers from −128 to 127, with what `pack_bytes` packed."""
    return fbgemm.linear_with_input_q_dq_qweight_dq_output_fp32(x, 1.0, 128, packed)


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
    """Whether the product of 8-bit numbers is exact here: without VNNI it adds pairs in 16 bits,
    which overflow.
    """
    size = 64
    weight = torch.full((16, size), 127, dtype=torch.int8)
    try:
        y = multiply_bytes(torch.full((1, size), 127.0), pack_bytes(weight, torch.ones(16)))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((y == 127 * 127 * size).all())


@cache
def can_pack_half() -> bool:
    """Whether FBGEMM multiplies weights in float16 here."""
    try:
        packed = fbgemm.linear_prepack_fp16(torch.eye(16), None)
        y = fbgemm.linear_dynamic_fp16(torch.ones(1, 16), packed)
    except (AttributeError, RuntimeError):
        return False
    return bool((y == 1).all())
