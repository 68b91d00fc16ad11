"""Weights that are left out: the smallest of a matrix, set to 0, or whole channels of MLPs and
heads of attention, which leaves a smaller network.

Magnitude: Han et al. 2015, §3; N of M: Mishra et al. 2021, §3. Whole parts are ranked by what they
write into the residual stream, the norm of their weights times that of what these are given, as
Wanda ranks single weights (Sun et al. 2023, eq. 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.models.language.calibration import watch_inputs
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.recurrent_config import GATES
from fledge.models.language.transformer import Transformer, TransformerConfig


def list_matrices(network: Any) -> Iterator[Tensor]:
    """The matrices of all blocks, those that lie in one tensor each for itself, as views [O, I]:
    queries, keys and values; gate and up; experts; the gates of a recurrent cell. Routers are left
    out.
    """
    if isinstance(network, Recurrent):
        gates = GATES[network.config.cell]
        for name, weight in network.cells.named_parameters():
            if weight.ndim == 2:
                pieces = gates if ".cell." in name else 2 if ".gate_up" in name else 1
                yield from weight.data.chunk(pieces)
        return
    c: TransformerConfig = network.config
    keys = c.kv_heads * c.head_width
    for name, weight in network.blocks.named_parameters():
        if weight.ndim < 2 or name.endswith("mixture.router.weight"):
            continue
        for matrix in weight.data.unbind(0) if weight.ndim == 3 else (weight.data,):
            if name.endswith("attention.qkv.weight"):
                yield from matrix.split([c.heads * c.head_width, keys, keys])
            else:
                yield from matrix.chunk(2) if ".gate_up" in name else (matrix,)


def keep_largest(weight: Tensor, sparsity: float) -> Tensor:
    """Which numbers stay: all but the `sparsity` of them that are smallest in size, the earlier
    first where two are equal.  [O, I] -> bool [O, I]
    """
    order = weight.abs().flatten().argsort(stable=True)
    kept = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    kept[order[: int(sparsity * weight.numel())]] = False
    return kept.view(weight.shape)


def keep_largest_of(weight: Tensor, n: int, m: int) -> Tensor:
    """Of every m numbers of a row that follow each other the n largest in size.  [O, I] -> bool

    Raises UserError where a row is no whole number of m.
    """
    if weight.shape[1] % m:
        raise UserError(
            f"pattern={n}:{m} needs rows of a multiple of {m} numbers, and a matrix has rows of "
            f"{weight.shape[1]}: give pattern=free."
        )
    pieces = weight.abs().unflatten(1, (-1, m))
    order = pieces.argsort(dim=-1, descending=True, stable=True)
    kept = torch.zeros_like(pieces, dtype=torch.bool)
    return kept.scatter_(-1, order[..., :n], True).flatten(1)


@torch.no_grad()
def rank_parts(network: Any, tokens: Tensor, real: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """How much each MLP channel and each group of heads writes, of every layer: ‖W_:j‖·‖x_j‖, over
    a group the root of the sum of squares.  -> [layers] of [mlp_width], of [kv_heads]
    """
    wrote: dict[str, Tensor] = {}

    def see(name: str, linear: nn.Linear, x: Tensor) -> None:
        if name.endswith((".down", ".attention.out")):
            weight, given = linear.weight.double(), x.double()
            wrote[name] = weight.square().sum(0) * given.square().sum(0)

    watch_inputs(network, tokens, real, see)
    c = network.config
    layers = range(c.layers)
    heads = [wrote[f"blocks.{layer}.attention.out"].view(c.kv_heads, -1).sum(1) for layer in layers]
    return [wrote[f"blocks.{layer}.down"].sqrt() for layer in layers], [h.sqrt() for h in heads]


def choose_kept(importance: Tensor, number: int) -> Tensor:
    """The places of the most important ones, in order."""
    return importance.argsort(descending=True, stable=True)[:number].sort().values


def cut_parts(network: Transformer, channels: list[Tensor], groups: list[Tensor]) -> Transformer:
    """A network of the parts that are kept, as many in every layer: it says what the whole one
    would, if what the others write were 0.

    channels, groups: places of those kept, a layer each. Raises UserError for a network whose parts
    cannot be cut apart.
    """
    c = network.config
    check_parts(c, len(groups[0]))
    queries = c.heads // c.kv_heads
    smaller = Transformer(
        replace(
            c, mlp_width=len(channels[0]), kv_heads=len(groups[0]),
            heads=len(groups[0]) * queries, head_width=c.head_width,
        ),
        network.border,
    ).to(network.embedding.weight)  # fmt: skip
    weights = network.state_dict()
    for layer in range(c.layers):
        chosen = _list_cuts(c, channels[layer], groups[layer], queries)
        for part, (axis, places) in chosen.items():
            for leaf in ("weight", "bias"):
                name = f"blocks.{layer}.{part}.{leaf}"
                if name in weights and not (leaf == "bias" and axis == 1):
                    weights[name] = weights[name].index_select(axis, places)
    smaller.load_state_dict(weights)
    return smaller.eval()


def _list_cuts(
    c: TransformerConfig, channels: Tensor, groups: Tensor, queries: int
) -> Mapping[str, tuple[int, Tensor]]:
    """Of a layer's parts the axis that is cut, and the places on it that stay."""

    def spread(places: Tensor, each: int) -> Tensor:
        return (places[:, None] * each + torch.arange(each, device=places.device)).flatten()

    keys = spread(groups, c.head_width)
    read = spread(groups, queries * c.head_width)
    first, second = c.heads * c.head_width, (c.heads + c.kv_heads) * c.head_width
    return {
        "attention.qkv": (0, torch.cat([read, keys + first, keys + second])),
        "attention.out": (1, read),
        "gate_up": (0, torch.cat([channels, channels + c.mlp_width])),
        "up": (0, channels),
        "down": (1, channels),
    }


def check_parts(c: TransformerConfig, groups: int) -> None:
    """Raises UserError for a network whose parts cannot be cut apart."""
    if c.experts is not None:
        raise UserError(
            "method=structured cuts plain MLPs, and the model has a mixture of experts: choose "
            "another method."
        )
    if c.qk_norm and c.qk_norm_whole and groups != c.kv_heads:
        raise UserError(
            "the model's norm of queries and keys is over all heads together, so none can be left "
            "out: give kv_groups=0."
        )
