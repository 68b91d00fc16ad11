"""Low-rank adapters on the matrices of a network: LoRA (Hu et al. 2022, eq. 3), rank-stabilised
(Kalajdzievski 2023) and weight-decomposed (DoRA, Liu et al. 2024, eq. 5).

A matrix of ours may be several of a Hugging Face model's, fused: each of these, a `Target`, has an
adapter of its own, so that they go in and out as PEFT's do.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.dropout import drop
from fledge.errors import UserError
from fledge.models.language.adapted_product import Update, adapted_product
from fledge.models.language.bottleneck import Bottleneck
from fledge.models.language.frozen_weights import FrozenMatrix, FrozenWeights, freeze_matrix
from fledge.models.language.hidden_units import HiddenUnits
from fledge.models.language.virtual_tokens import VirtualTokens
from fledge.weights_version import raise_version


@dataclass(frozen=True)
class LoRA:
    """W' = W + s·B A, with A [r, I], B [O, r], and s = α/r, or α/√r when rank-stabilised.

    dora: W' is scaled row by row to a learned magnitude, ‖W'_i‖ = m_i. dropout: of x before A.
    """

    rank: int = 16
    alpha: float = 32.0
    stabilised: bool = False
    dora: bool = False
    dropout: float = 0.0

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.stabilised else self.rank)


LORA = LoRA()


class Target(NamedTuple):
    """One matrix of a Hugging Face model, as rows `start` to `end` of one of ours."""

    name: str  # model.layers.0.self_attn.q_proj
    start: int
    end: int

    @property
    def rows(self) -> slice:
        return slice(self.start, self.end)


class LowRank(nn.Module):
    """The adapter of one target.

    magnitude: DoRA's m, else None.
    """

    def __init__(self, target: Target, width: int, settings: LoRA, like: Tensor) -> None:
        super().__init__()
        self.target, self.settings = target, settings
        self.layer = zlib.crc32(target.name.encode())  # whose mask it is
        rows = target.end - target.start
        self.down = nn.Parameter(like.new_empty(settings.rank, width))  # A [r, I]
        self.up = nn.Parameter(like.new_zeros(rows, settings.rank))  # B [O, r]
        self.magnitude: nn.Parameter | None = None

    def reset(self, generator: torch.Generator | None) -> None:
        """A uniform in ±1/√I, B = 0: the network says what it said."""
        bound = 1 / math.sqrt(self.down.shape[1])
        with torch.no_grad():
            self.down.uniform_(-bound, bound, generator=generator)
            self.up.zero_()

    def update(self) -> Tensor:
        """s·B A.  [O, I]"""
        return self.settings.scale * (self.up @ self.down)

    @property
    def drops(self) -> bool:
        """Whether what goes in is dropped out now."""
        return self.training and self.settings.dropout > 0

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., O]"""
        if self.drops:
            x = drop(x, self.settings.dropout, self.layer)
        # The precision is that of x, which autocast has rounded, and rounds in float32 alone.
        low = F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype))
        return low * self.settings.scale


class AdaptedLinear(nn.Module):
    """A frozen matrix and its adapters, in place of an `nn.Linear`.  [..., I] -> [..., O]"""

    def __init__(self, base: nn.Linear, kind: FrozenWeights) -> None:
        super().__init__()
        self.out_features, self.in_features = base.weight.shape
        self.kind = kind
        self.base: FrozenMatrix = freeze_matrix(base.weight, kind)
        self.dtype = torch.promote_types(base.weight.dtype, torch.float32)  # of adapters, of sums
        bias = base.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.adapters: Any = nn.ModuleList()

    @torch.no_grad()
    def add(
        self, target: Target, settings: LoRA, generator: torch.Generator | None = None
    ) -> LowRank:
        """An adapter on some rows: none has two."""
        like = next(self.base.parameters()).new_empty(0, dtype=self.dtype)  # its device
        adapter = LowRank(target, self.in_features, settings, like)
        adapter.reset(generator)
        if settings.dora:
            rows = self.base.restore(adapter.down.dtype)[target.start : target.end]
            adapter.magnitude = nn.Parameter(rows.norm(dim=1))
        self.adapters.append(adapter)
        return adapter

    def merge(self) -> nn.Linear:
        merged = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        merged.weight = nn.Parameter(self.weight)
        if self.bias is not None:
            merged.bias = nn.Parameter(self.bias.detach())
        return merged

    @property
    def weight(self) -> Tensor:
        """[O, I], the adapters merged into it: for whoever lays out weights. Not differentiable."""
        with torch.no_grad():
            whole = self.base.restore(self.dtype).clone()
            for adapter in self.adapters:
                rows = slice(adapter.target.start, adapter.target.end)
                whole[rows] += adapter.update()
                if adapter.magnitude is not None:
                    whole[rows] *= (adapter.magnitude / whole[rows].norm(dim=1))[:, None]
            return whole

    def forward(self, x: Tensor, hidden: HiddenUnits | None = None) -> Tensor:
        """hidden: of an MLP, in place of x, what it makes of x."""
        if any(adapter.drops for adapter in self.adapters):
            x = x if hidden is None else hidden(x)
            # Every adapter draws for itself, so that each has an input of its own.
            y = self.base(x)
            moved = [y[..., a.target.rows] + a(x).to(y.dtype) for a in self.adapters]
            y = self._put(moved, y)
        else:
            updates = [Update(a.target.rows, a.settings.scale, a.down, a.up) for a in self.adapters]
            y = adapted_product(x, self.base, updates, hidden)
        if any(adapter.magnitude is not None for adapter in self.adapters):
            y = y * self._stretch().to(y.dtype)
        return y if self.bias is None else y + self.bias

    def _stretch(self) -> Tensor:
        """DoRA's m / ‖W'‖ of every row, 1 of those without. The norm is a constant in the gradient,
        as the paper has it (§4.3).  -> [O]
        """
        with torch.no_grad():
            whole = self.base.restore(self.dtype)
            norms = [(whole[a.target.rows] + a.update()).norm(dim=1) for a in self.adapters]
        ones = whole.new_ones(self.out_features)
        pairs = zip(self.adapters, norms, strict=True)
        own = [
            ones[a.target.rows] if a.magnitude is None else a.magnitude / norm for a, norm in pairs
        ]
        return self._put(own, ones)

    def _put(self, parts: Sequence[Tensor], y: Tensor) -> Tensor:
        """y with each adapter's part on its rows.  [..., O']s, [..., O] -> [..., O]"""
        pieces, end = [], 0
        for adapter, part in zip(self.adapters, parts, strict=True):
            pieces += [y[..., end : adapter.target.start], part]
            end = adapter.target.end
        return torch.cat([*pieces, y[..., end:]], dim=-1)


def adapt_network(
    network: nn.Module,
    chosen: Mapping[str, Sequence[Target]],
    trained: Sequence[str] = (),
    *,
    settings: LoRA = LORA,
    weights: FrozenWeights = "fp32",
    generator: torch.Generator | None = None,
) -> None:
    """Freeze the network in place, hold its matrices in `weights`, and put adapters beside them.

    chosen: the name of every linear layer that is frozen, and which rows of it are adapted; some
    may be held in `weights` already, since they were read.
    trained: names of parameters that go on learning whole. generator: where the adapters begin.
    """
    network.requires_grad_(False)
    for name in trained:
        network.get_parameter(name).requires_grad_(True)
    for layer, targets in chosen.items():
        if f"{layer}.weight" in trained:  # it needs no adapter beside it
            continue
        parent, _, own = layer.rpartition(".")
        whole = network.get_submodule(layer)
        assert isinstance(whole, nn.Linear | AdaptedLinear)
        linear = AdaptedLinear(whole, weights) if isinstance(whole, nn.Linear) else whole
        if linear.kind != weights:
            raise ValueError(f"{layer} was read to be held in {linear.kind}, and not in {weights}")
        for target in targets:
            linear.add(target, settings, generator)
        setattr(network.get_submodule(parent), own, linear)
    raise_version(network)


def list_adapters(network: nn.Module) -> Iterator[LowRank]:
    """Every adapter in the network, in the order of its modules."""
    return (module for module in network.modules() if isinstance(module, LowRank))


def is_adapted(network: nn.Module) -> bool:
    """Whether it has an adapter of any kind."""
    kinds = (LowRank, Bottleneck, VirtualTokens)
    return any(isinstance(module, kinds) for module in network.modules())


@torch.no_grad()
def merge_adapters(network: nn.Module) -> None:
    """Put what the adapters have learned into the matrices, in place: an ordinary network again,
    every parameter of which learns. Raises UserError for adapters that no matrix can hold.
    """
    for module in network.modules():
        if isinstance(module, (Bottleneck, VirtualTokens)):
            what = "is layers" if isinstance(module, Bottleneck) else "is virtual tokens"
            raise UserError(
                f"the model's adapter {what} of its own, which cannot be merged into the base's "
                "matrices: go on with the adapter as it is, or train one with adapter=lora."
            )
    for name, module in list(network.named_modules()):
        if isinstance(module, AdaptedLinear):
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, module.merge())
    network.requires_grad_(True)
    raise_version(network)
