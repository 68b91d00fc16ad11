"""Divides the products of a block over ranks (Shoeybi et al. 2019, §3), by torch's
`parallelize_module`: what enters attention and feed-forward by columns, so that each rank has some
of the heads and hidden units, and what leaves them by rows, whose sums are added up. Norms are held
whole, and so are embeddings and heads, which the log-probability reads in chunks.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from fledge.errors import UserError
from fledge.models.language.adapters import is_adapted
from fledge.models.language.transformer import Block, Transformer


def check_can_be_divided(network: Transformer, number: int) -> None:
    """Raises UserError for a network whose products so many ranks cannot divide."""
    c = network.config
    for name, size in (("heads", c.heads), ("kv_heads", c.kv_heads), ("mlp_width", c.mlp_width)):
        if size % number:
            raise UserError(
                f"tensor_parallel={number} was given for a model with {name}={size}: it must "
                "divide heads, kv_heads and mlp_width."
            )
    for given, what in (
        (c.experts is not None, "a mixture of experts, whose tokens choose their products"),
        (c.qk_norm and c.qk_norm_whole, "norms over all heads together"),
        (is_adapted(network), "an adapter"),
    ):
        if given:
            raise UserError(
                f"tensor_parallel={number} was given for a model with {what}: use shard=fsdp alone."
            )


def divide_products(block: Block, mesh: Any) -> dict[str, Tensor]:
    """In place. Where several matrices are one of ours, the rows of each rank's parts are put
    together first.  -> by the parameter's name in the block, which row of the whole each now is
    """
    number, c = mesh.size(), block.config
    heads, groups = c.heads * c.head_width, c.kv_heads * c.head_width
    orders = {"attention.qkv": _interleave([heads, groups, groups], number)}
    plan: dict[str, Any] = {
        "attention.qkv": ColwiseParallel(),
        "attention.out": RowwiseParallel(),
        "gate_up" if c.gated else "up": ColwiseParallel(),
        "down": RowwiseParallel(),
    }
    if c.gated:
        orders["gate_up"] = _interleave([c.mlp_width, c.mlp_width], number)
    if c.qk_norm:  # [B, T, heads, d]
        for name in ("attention.q_norm", "attention.k_norm"):
            plan[name] = SequenceParallel(sequence_dim=2, use_local_output=True)
    ordered: dict[str, Tensor] = {}
    for layer, order in orders.items():
        for name, p in block.get_submodule(layer).named_parameters():
            p.data = p.data[order]
            ordered[f"{layer}.{name}"] = order
    parallelize_module(block, mesh, plan)
    own = dataclasses.replace(
        c, heads=c.heads // number, kv_heads=c.kv_heads // number, mlp_width=c.mlp_width // number
    )
    block.config = block.attention.config = own
    return ordered


def _interleave(sizes: list[int], number: int) -> Tensor:
    """The rows of matrices of these sizes, one under the other, such that each of `number` equal
    parts has its share of every matrix.  -> [Σ sizes] long
    """
    rows = torch.arange(sum(sizes)).split(sizes)
    shares = [matrix.chunk(number) for matrix in rows]
    return torch.cat([share[n] for n in range(number) for share in shares])
