"""A matrix product for generation with weights in 4 bits: 16 even steps between the least and the
greatest of every GROUP numbers of a row, multiplied as they are stored.

5 bits a number with its scale and its zero, in place of 32; nothing else is rounded but to
bfloat16, in which x comes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from fledge.engine.packed import Product, make_product

GROUP = 32  # numbers of a row that share a scale and a zero
ROWS = 16  # the kernel's rows come in sixteens

# By their names, which the stubs do not know.
pack: Any = getattr(torch, "_convert_weight_to_int4pack_for_cpu")  # noqa: B009
multiply: Any = getattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu")  # noqa: B009


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [O, I], I a multiple of GROUP -> codes from 0 to 15, int32 [O, I]; scales and zeros,
    bfloat16 [I / GROUP, O, 2], so that a weight is (code − 8) · scale + zero
    """
    groups = weight.detach().float().unflatten(1, (-1, GROUP))  # [O, I / GROUP, GROUP]
    least, greatest = groups.aminmax(dim=-1)
    scale = ((greatest - least) / 15).bfloat16()
    zero = (least + 8 * scale.float()).bfloat16()
    # Codes for the scale and the zero as they are rounded.
    step = scale.float().clamp(min=torch.finfo(torch.float32).tiny)[..., None]
    codes = ((groups - zero.float()[..., None]) / step + 8).round().clamp(0, 15)
    both = torch.stack([scale, zero], -1).transpose(0, 1).contiguous()
    return codes.to(torch.int32).flatten(1), both


def restore(codes: Tensor, both: Tensor) -> Tensor:
    """The weights that `quantise` made of others, in float32.  [O, I]"""
    scale, zero = both.float().transpose(0, 1)[..., None].unbind(2)  # [O, I / GROUP, 1]
    return ((codes.unflatten(1, (-1, GROUP)) - 8) * scale + zero).flatten(1)


class FourBitProduct(Product):
    """By the processor's kernel for weights of 4 bits."""

    def __init__(self, codes: Tensor, both: Tensor) -> None:
        self.weight, self.both = pack(codes, 1), both

    def __call__(self, x: Tensor) -> Tensor:
        return multiply(x, self.weight, GROUP, self.both)


def make_four_bit_product(weight: Tensor) -> Product:
    """x in bfloat16. Where there is no kernel for this shape or device the weights take the memory
    of bfloat16: rounded as they would be, or as they are where GROUP does not divide their rows.
    """
    if weight.shape[1] % GROUP:
        return make_product(weight.bfloat16())
    codes, both = quantise(weight)
    if weight.device.type == "cpu" and len(weight) % ROWS == 0 and has_kernel():
        return FourBitProduct(codes, both)
    return make_product(restore(codes, both).bfloat16())


@cache
def has_kernel() -> bool:
    """Whether torch multiplies weights of 4 bits here: tried, and not asked."""
    codes, both = quantise(torch.eye(ROWS, GROUP))
    try:
        FourBitProduct(codes, both)(torch.ones(1, GROUP, dtype=torch.bfloat16))
    except (NotImplementedError, RuntimeError):
        return False
    return True
