"""A matrix product by the library of `native.py`: weights in 32, 16 or 8 bits, the norm before it
and what follows in the same pass. x and y are in float32, whatever the weights are in.
"""

from __future__ import annotations

from ctypes import Structure, addressof, c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from fledge.engine.native import KINDS, load_native
from fledge.engine.packed import Product

INPUTS = 2**17  # the most of a row: sums of products of 8 bits fit in 32, and steps in an int
TILE = 32  # outputs side by side in memory
# Of a kind: how its weights are stored, and how many inputs one instruction multiplies and adds up.
_STORED = {
    "fp32": (torch.float32, 1), "fp16": (torch.float16, 1), "bf16": (torch.bfloat16, 2),
    "int8": (torch.int8, 4),
}  # fmt: skip


class _Weight(Structure):
    """`struct Weight` of csrc/products.c."""

    _fields_ = (
        ("kind", c_int32), ("steps", c_int32), ("inputs", c_int64), ("outputs", c_int64),
        ("packed", c_void_p), ("scale", c_void_p), ("shifts", c_void_p),
    )  # fmt: skip


class NativeProduct(Product):
    """weight [O, I]. In 8 bits as `QuantisedProduct` has it: a scale a row, x in two parts.

    gated: the weight is a gate's rows and then as many of what it gates, a multiple of 16: y =
    silu(gate) · up, [N, O / 2].
    """

    def __init__(self, weight: Tensor, kind: str, gated: bool = False) -> None:
        self.kind, self.gated = kind, gated
        outputs, inputs = weight.shape
        if inputs > INPUTS or (gated and outputs % TILE):
            raise ValueError(f"no native product of {list(weight.shape)}, gated: {gated}")
        self.inputs = inputs
        self.outputs = outputs // 2 if gated else outputs
        dtype, per_step = _STORED[kind]
        weight = weight.detach().float().contiguous()
        tiles, steps = -(-outputs // TILE), -(-inputs // per_step)
        self.weight = torch.empty(tiles, steps, TILE, per_step, dtype=dtype)
        self.scale = torch.empty(outputs) if kind == "int8" else None
        self.shifts = torch.empty(outputs, dtype=torch.int32) if kind == "int8" else None
        library: Any = load_native()
        self._multiply = library.multiply
        failed = library.pack(
            KINDS[kind], steps, gated, outputs, inputs, weight.data_ptr(), self.weight.data_ptr(),
            None if self.scale is None else self.scale.data_ptr(),
            None if self.shifts is None else self.shifts.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError(f"no memory to lay out {outputs} rows of {inputs} numbers")
        held = _Weight(
            KINDS[kind], steps, inputs, outputs, self.weight.data_ptr(),
            None if self.scale is None else self.scale.data_ptr(),
            None if self.shifts is None else self.shifts.data_ptr(),
        )  # fmt: skip
        self._held, self.at = held, addressof(held)  # where the library finds it

    def __call__(
        self,
        x: Tensor,
        eps: float = -1.0,
        gain: Tensor | None = None,
        other: Tensor | None = None,
    ) -> Tensor:
        """norm(x) Wᵀ + other, before the gate; eps: of the norm x / √(mean x² + ε) · gain, negative
        for none.
        """
        x = x.contiguous()
        rows = x.shape[0]
        self._check(x, (rows, self.inputs))
        if gain is not None:
            gain = gain.contiguous()
            self._check(gain, (self.inputs,))
        if other is not None:
            other = other.contiguous()
            self._check(other, (rows, self._held.outputs))
        y = x.new_empty(x.shape[0], self.outputs)
        failed = self._multiply(
            self.at, x.data_ptr(), x.shape[0], eps, None if gain is None else gain.data_ptr(),
            self.gated, None if other is None else other.data_ptr(), y.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError(f"no memory for {x.shape[0]} rows of {x.shape[1]} numbers")
        return y

    def _check(self, numbers: Tensor, shape: tuple[int, ...]) -> None:
        """What is read and written in C. Raises ValueError."""
        if numbers.dtype != torch.float32 or numbers.shape != shape or not numbers.is_cpu:
            raise ValueError(
                f"float32 {list(shape)} on the CPU, not {numbers.dtype} {list(numbers.shape)}"
            )

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        return self(x, other=other)
