"""Divides weights, gradients and moments of a language model's blocks over ranks: FSDP2 (Zhao et
al. 2023; torch.distributed.fsdp.fully_shard), block by block, in one copy or several (HSDP), and
the products of a block beside it (`tensor_parallel`).

A block's weights are gathered when it computes and given up again; embeddings and heads, which the
log-probability reads in chunks outside of any module, are held whole by every rank.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.distributed.fsdp import fully_shard

from fledge import ranks
from fledge.errors import UserError
from fledge.models.language.transformer import Block, Transformer
from fledge.rank_sums import gather_weights
from fledge.scale.layout import Layout


class Sharded:
    """The networks in a module, divided. `end` makes them whole again, for whoever saves them."""

    def __init__(self, module: nn.Module, device: str, layout: Layout) -> None:
        """Raises UserError where there are no blocks, or they have weights that are not trained, or
        are of sizes that cannot be divided.
        """
        self.module = module
        parts = module.modules()
        self.networks: list[Any] = [part for part in parts if isinstance(part, Transformer)]
        if not self.networks:
            raise UserError(
                "shard=fsdp was given, or tensor_parallel, and this model has no blocks that could "
                "be divided, as a transformer has: leave it out."
            )
        blocks = [block for network in self.networks for block in network.blocks]
        if any(not p.requires_grad for block in blocks for p in block.parameters()):
            raise UserError(
                "shard=fsdp divides weights, gradients and moments that are trained, and some here "
                "are frozen: leave it out, for what is frozen has no gradient and no moments."
            )
        # A block as it was, but for its weights: they come back as they are at the end.
        self.whole = {id(block): _without_weights(block) for block in blocks}
        rows, products = layout.meshes(device)
        for network in self.networks:
            if layout.tensor > 1:
                from fledge.scale.tensor_parallel import check_can_be_divided

                check_can_be_divided(network.config, layout.tensor)
                network.hold_whole = partial(self._hold_whole, network)
        for block in blocks:
            _divide(block, layout, rows, products)
        ranks.share_rows(layout.tensor)

    def end(self) -> None:
        """Whole blocks take the place of the divided ones on the first rank; all ranks call it."""
        for network in self.networks:
            for number, block in enumerate(network.blocks):
                whole = self._make_whole(block)
                if ranks.is_first():
                    network.blocks[number] = whole
            vars(network).pop("hold_whole", None)
        ranks.share_rows(1)

    @contextmanager
    def _hold_whole(self, network: Any) -> Iterator[None]:
        """Whole blocks stand in for the divided ones, on every rank, until the block ends."""
        divided = list(network.blocks)
        for number, block in enumerate(divided):
            network.blocks[number] = self._make_whole(block).requires_grad_(False)
        try:
            yield
        finally:
            for number, block in enumerate(divided):
                network.blocks[number] = block

    def _make_whole(self, block: Block) -> Block:
        plain = copy.deepcopy(self.whole[id(block)])
        plain.load_state_dict(gather_weights(block), assign=True)
        return plain.train(block.training)


def _divide(block: Block, layout: Layout, rows: Any, products: Any) -> None:
    orders = {}
    if products is not None:
        from fledge.scale.tensor_parallel import divide_products

        orders = divide_products(block, products)
    sharded: Any = fully_shard(block, mesh=rows, **layout.policies())
    # The loss of a step is divided by a count of the whole step: gradients add up.
    sharded.set_force_sum_reduction_for_comms(True)
    sharded.set_gradient_divide_factor(1.0)
    sharded.reshards = layout.reshard
    for name, order in orders.items():
        sharded.get_parameter(name).row_order = order


def _without_weights(block: Block) -> Block:
    """A copy whose parameters take no memory."""
    memo = {id(p): nn.Parameter(p.detach().to("meta")) for p in block.parameters()}
    return copy.deepcopy(block, memo)
