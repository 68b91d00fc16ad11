"""Packed weights that several models have in common: adapters of one base multiply by the base's,
which lie in memory once, and by their own low-rank matrices beside them (Hu et al. 2022, eq. 3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fledge.engine.native_product import NativeProduct
from fledge.engine.packed import Product
from fledge.models.language.adapters import AdaptedLinear
from fledge.models.language.frozen_weights import CastMatrix


class Shared(NamedTuple):
    """A matrix as a network has it: W, or W + B A.

    weight: W [O, I], which other networks have too. down, up: A [R, I] and B [O, R] of all its
        adapters, their scales in B; None where it has none.
    """

    weight: Tensor
    down: Tensor | None = None
    up: Tensor | None = None


class PackedWeights:
    """Of networks whose weights no longer change, for engines of one precision. What only one of
    them has is none of its business.
    """

    def __init__(self, networks: Iterable[nn.Module], precision: str) -> None:
        self.precision = precision
        counts = Counter[int]()
        for network in networks:
            counts.update({weight.data_ptr() for weight in network.parameters()})
        self._shared = {place for place, count in counts.items() if count > 1}
        self._packed: dict[tuple[int, bool], NativeProduct] = {}

    def split(self, linear: nn.Module) -> Shared | None:
        """None for a matrix that has to be laid out for its own network: which nobody shares, is
        held in fewer bits, or is scaled as a whole, as DoRA does.
        """
        if not isinstance(linear, AdaptedLinear):
            weight: Any = linear.weight
            return Shared(weight.detach()) if weight.data_ptr() in self._shared else None
        base = linear.base
        if not isinstance(base, CastMatrix) or base.weight.data_ptr() not in self._shared:
            return None
        if any(adapter.magnitude is not None for adapter in linear.adapters):
            return None
        weight = base.weight.detach()
        if not linear.adapters:
            return Shared(weight)
        down = torch.cat([adapter.down.detach() for adapter in linear.adapters])
        up, begin = down.new_zeros(len(weight), len(down)), 0
        for adapter in linear.adapters:
            end = begin + len(adapter.down)
            up[adapter.target.rows, begin:end] = adapter.settings.scale * adapter.up.detach()
            begin = end
        return Shared(weight, down, up)

    def pack(
        self, weight: Tensor, arrange: Callable[[Tensor], Tensor], *, gated: bool = False
    ) -> NativeProduct:
        """The product of a weight that several networks have; made once.

        arrange: the order that all forms have its rows in.
        """
        key = weight.data_ptr(), gated
        if key not in self._packed:
            self._packed[key] = NativeProduct(arrange(weight), self.precision, gated)
        return self._packed[key]


class AdaptedProduct(Product):
    """x ↦ x Wᵀ + (x Aᵀ) Bᵀ, with a product of W that others have too."""

    def __init__(self, shared: NativeProduct, down: Tensor, up: Tensor) -> None:
        """down: A [R, I], up: B [O, R]. Where the shared one rounds these are in float16, whose
        steps are finer than its own.
        """
        self.shared = shared
        own = "fp32" if shared.kind == "fp32" else "fp16"
        self.down, self.up = NativeProduct(down, own), NativeProduct(up, own)

    def __call__(
        self,
        x: Tensor,
        eps: float = -1.0,
        gain: Tensor | None = None,
        other: Tensor | None = None,
    ) -> Tensor:
        """As `NativeProduct` is called; of a gated one `other` is added before the gate."""
        return self.shared(x, eps, gain, self.up(self.down(x, eps, gain), other=other))

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        return self(x, other=other)
