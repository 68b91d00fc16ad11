"""Divides weights, gradients and moments of a language model's blocks over ranks: FSDP2 (Zhao et
al. 2023; torch.distributed.fsdp.fully_shard), block by block.

A block's weights are gathered when it computes and given up again; embeddings and heads, which the
log-probability reads in chunks outside of any module, are held whole by every rank.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, share_comm_ctx

from fledge import ranks
from fledge.errors import UserError
from fledge.models.language.transformer import Block, Transformer
from fledge.sharded import put_together


class Sharded:
    """The networks in a module, divided. `end` makes them whole again, for whoever saves them."""

    def __init__(self, module: nn.Module, device: str) -> None:
        """Raises UserError where the blocks have weights that are not trained."""
        self.module = module
        self.networks = [part for part in module.modules() if isinstance(part, Transformer)]
        blocks = [block for network in self.networks for block in network.blocks]
        if any(not p.requires_grad for block in blocks for p in block.parameters()):
            raise UserError(
                "shard=fsdp divides weights, gradients and moments that are trained, and some here "
                "are frozen: leave it out, for what is frozen has no gradient and no moments."
            )
        # A block as it was, but for its weights: they come back as they are at the end.
        self.whole = {id(block): _without_weights(block) for block in blocks}
        mesh = init_device_mesh(device, (ranks.world(),))
        for block in blocks:
            # Each block is a root of its own, whose weights would stay whole until the way back.
            sharded: Any = fully_shard(block, mesh=mesh, reshard_after_forward=True)
            # The loss of a step is divided by a count of the whole step: gradients add up.
            sharded.set_force_sum_reduction_for_comms(True)
            sharded.set_gradient_divide_factor(1.0)
        # Alone, each block would keep its gradients whole until the way back has ended.
        share_comm_ctx(blocks)

    def end(self) -> None:
        """Whole blocks take the place of the divided ones on the first rank; all ranks call it."""
        for network in self.networks:
            for number, block in enumerate(network.blocks):
                state = put_together(block.state_dict())
                if ranks.is_first():
                    plain = self.whole[id(block)]
                    plain.load_state_dict(state, assign=True)
                    network.blocks[number] = plain


def _without_weights(block: Block) -> Block:
    """A copy whose parameters take no memory."""
    memo = {id(p): nn.Parameter(p.detach().to("meta")) for p in block.parameters()}
    return copy.deepcopy(block, memo)
