"""One step of a recurrent cell for a few rows: its gates out of one product with a weight that is
laid out once. torch's kernels lay theirs out anew at every call, which for one token is most of
what they do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fledge.engine.native import has_native
from fledge.engine.native_product import INPUTS, NativeProduct
from fledge.engine.packed import Product, make_product
from fledge.models.language.recurrent_cells import KernelCell


def lay_out(weight: Tensor) -> Product:
    """In the weight's own precision."""
    plain = weight.device.type == "cpu" and weight.dtype == torch.float32
    if plain and weight.shape[1] <= INPUTS and has_native("fp32"):
        return NativeProduct(weight, "fp32")
    return make_product(weight.contiguous())


class CellStep:
    """Of an elman, lstm or gru layer as it is now: x [B, W] and a state [B, S] -> what it says and
    the next state.
    """

    def __init__(self, layer: KernelCell) -> None:
        self.kind, cell = layer.config.cell, layer.cell
        own: Any = cell
        seen, kept = own.weight_ih_l0.detach(), own.weight_hh_l0.detach()  # [G·W, W] each
        before, beside = own.bias_ih_l0.detach(), own.bias_hh_l0.detach()
        if self.kind == "gru":  # its reset gate comes between the product of the state and the sum
            self.seen, self.kept = lay_out(seen), lay_out(kept)
            self.bias, self.kept_bias = before, beside
        else:
            self.both, self.bias = lay_out(torch.cat([seen, kept], 1)), before + beside

    def __call__(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if self.kind == "lstm":
            said, memory = state.chunk(2, -1)
            gates = self.both(torch.cat([x, said], -1)).add_(self.bias)
            i, f, g, o = gates.chunk(4, -1)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            said = o.sigmoid() * memory.tanh()
            return said, torch.cat([said, memory], -1)
        if self.kind == "gru":
            r, z, n = self.seen(x).add_(self.bias).chunk(3, -1)
            own_r, own_z, own_n = self.kept(state).add_(self.kept_bias).chunk(3, -1)
            n = (n + (r + own_r).sigmoid() * own_n).tanh()
            said = n.lerp(state, (z + own_z).sigmoid())
            return said, said
        said = self.both(torch.cat([x, state], -1)).add_(self.bias).tanh()
        return said, said
