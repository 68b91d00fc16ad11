"""How the ranks of a run stand to each other: which of them hold copies of the same weights, which
divide them, and which divide every product of a block; as torch's DeviceMesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy

from fledge import ranks
from fledge.errors import UserError


class LayoutFields(Protocol):
    """Of a run's config."""

    @property
    def shard(self) -> str: ...
    @property
    def replicas(self) -> int: ...
    @property
    def tensor_parallel(self) -> int: ...
    @property
    def reshard_after_forward(self) -> bool: ...
    @property
    def gather_precision(self) -> str: ...


@dataclass(frozen=True)
class Layout:
    """replicas × shards × tensor = ranks, the last of which are neighbours.

    replicas: how many times all weights are held. shards: ranks over which a copy's blocks are
    divided (FSDP2). tensor: ranks that divide each of a block's products (Shoeybi et al. 2019).
    reshard: whether a block's weights are given up between its forward and its backward pass.
    half: whether they travel, and are computed with, in bfloat16.
    """

    replicas: int
    shards: int
    tensor: int = 1
    reshard: bool = True
    half: bool = False

    def meshes(self, device: str) -> tuple[Any, Any]:
        """Of those who compute different rows, and of those who divide products, or None."""
        sizes = {"replicas": self.replicas, "shards": self.shards, "tensor": self.tensor}
        kept = {name: n for name, n in sizes.items() if n > 1 or name == "shards"}
        mesh = init_device_mesh(device, tuple(kept.values()), mesh_dim_names=tuple(kept))
        rows = tuple(name for name in kept if name != "tensor")
        return mesh[rows], mesh["tensor"] if self.tensor > 1 else None

    def policies(self) -> dict[str, Any]:
        """What torch.distributed.fsdp.fully_shard takes for a block."""
        if not self.half:
            return {}
        # A sum of gradients over many ranks loses too much in bfloat16; and what leaves a block
        # meets weights in float32.
        single = torch.float32
        return {"mp_policy": MixedPrecisionPolicy(torch.bfloat16, single, output_dtype=single)}


def lay_out(fields: LayoutFields) -> Layout:
    """Of several ranks. Raises UserError where they do not divide so, as in a run that goes on with
    another number of them.
    """
    world, replicas, tensor = ranks.world(), fields.replicas, fields.tensor_parallel
    if world % (replicas * tensor):
        raise UserError(
            f"replicas={replicas} and tensor_parallel={tensor} were given to {world} processes: "
            f"start {replicas * tensor}, or a multiple of it."
        )
    each = world // (replicas * tensor)
    if fields.shard == "none":
        replicas, each = each, 1
    half = fields.gather_precision == "bf16"
    return Layout(replicas, each, tensor, fields.reshard_after_forward, half)
