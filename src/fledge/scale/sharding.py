"""Divides weights, gradients and moments of language models over ranks: FSDP2 (Zhao et al. 2023;
torch.distributed.fsdp.fully_shard), block by block, in one copy or several (HSDP), and the products
of a block beside it (`tensor_parallel`).

A block's weights are gathered when it computes and given up again. Embeddings and the head are
gathered as the network begins and stay so until the backward pass has ended: the log-probability
reads them in chunks, outside of any module. What is frozen, as the base under an adapter, is
divided like the rest, and has no gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import fully_shard

from fledge import ranks
from fledge.errors import UserError
from fledge.loop import Sampler
from fledge.models.language.transformer import Transformer
from fledge.rank_sums import gather
from fledge.scale.layout import Layout
from fledge.sharded import ask_beside, held_whole, put_together
from fledge.weights_version import keep_version, share_version


class Sharded:
    """The networks in a module, divided. `end` makes them whole again, for whoever saves them.

    beside: others that learn nothing and are asked about the same rows, as a reference.
    """

    def __init__(
        self, module: nn.Module, device: str, layout: Layout, beside: Sequence[nn.Module] = ()
    ) -> None:
        """Raises UserError for products of sizes that cannot be divided."""
        self.module = module
        others = [network for each in beside for network in _list_networks(each)]
        networks: list[Any] = [*_list_networks(module), *others]
        # A network as it was, but for its weights: they come back as they are at the end.
        self.whole = [(network, _without_weights(network)) for network in networks]
        rows, products = layout.meshes(device)
        for network, plain in self.whole:
            orders = {} if products is None else _divide_products(network, products)
            for part in (*network.blocks, network):
                _divide(part, rows, layout, gives_up=part is not network)
            for name, order in orders.items():
                network.get_parameter(name).row_order = order
            if products is not None:
                network.hold_whole = partial(_hold_whole, network, plain)
            ask_beside(network, () if network in others else others)
            # The network has to compute before a block of its does, for they belong together.
            with torch.no_grad():
                network(torch.zeros(1, 1, dtype=torch.long, device=device))
            for part in (*network.blocks, network):
                part.reshard()
        ranks.share_rows(layout.tensor)

    def gather_for(self, sampler: Sampler) -> Gathered:
        """One that is asked while every rank holds all weights."""
        return Gathered(sampler, self.module)

    def end(self) -> None:
        """Every network becomes whole, in place, on the first rank; all ranks call it."""
        for network, plain in self.whole:
            state: dict[str, Any] = {}
            held = dict(network.named_parameters(remove_duplicate=False))
            for name, part in network.state_dict().items():
                together = put_together(part, held.get(name))
                if ranks.is_first():  # of the others none holds more than one
                    state[name] = together
            if ranks.is_first():
                plain.load_state_dict(state, assign=True)
                for name, parameter in network.named_parameters():
                    plain.get_parameter(name).requires_grad_(parameter.requires_grad)
                keep_version(network, plain)
                network.__class__ = type(plain)
                network.__dict__ = plain.__dict__
        ranks.share_rows(1)


def _divide(part: Any, rows: Any, layout: Layout, *, gives_up: bool) -> None:
    """gives_up: its weights, between its forward and its backward pass."""
    reshards = gives_up and layout.reshard
    # Embeddings and the head are read outside of any module, in single precision.
    own = layout.policies() if gives_up else {}
    fully_shard(part, mesh=rows, reshard_after_forward=reshards, **own)
    part.reshards = reshards
    # The loss of a step is divided by a count of the whole step: gradients add up.
    part.set_force_sum_reduction_for_comms(True)
    part.set_gradient_divide_factor(1.0)


def _divide_products(network: Any, products: Any) -> dict[str, torch.Tensor]:
    from fledge.scale.tensor_parallel import check_can_be_divided, divide_products

    check_can_be_divided(network, products.size())
    return {
        f"blocks.{number}.{name}": order
        for number, block in enumerate(network.blocks)
        for name, order in divide_products(block, products).items()
    }


@contextmanager
def _hold_whole(network: Any, plain: Transformer) -> Iterator[None]:
    """A whole network stands in for the divided one, on every rank, until the block ends."""
    whole = copy.deepcopy(plain)
    whole.load_state_dict(gather(network.state_dict(), network), assign=True)
    whole.requires_grad_(False).train(network.training)
    share_version(network, whole)
    divided = network.__class__, network.__dict__
    network.__class__, network.__dict__ = type(whole), whole.__dict__
    try:
        yield
    finally:
        network.__class__, network.__dict__ = divided


class Gathered:
    """A sampler that is asked for a batch while every rank holds all weights of a module.
    Everything else is the sampler's own.
    """

    def __init__(self, sampler: Sampler, module: nn.Module) -> None:
        self.sampler, self.module = sampler, module
        self.figures: dict[str, float] = {}

    def __next__(self) -> Any:
        with held_whole(self.module):
            batch = next(self.sampler)
        self.figures = self.sampler.figures
        return batch

    def state_dict(self) -> dict[str, Any]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sampler.load_state_dict(state)


def check_network(module: nn.Module, layout: Layout) -> None:
    """Raises UserError for a module without a network that can be divided so."""
    networks = _list_networks(module)
    if not networks:
        raise UserError(
            "shard=fsdp was given, and this model has no blocks that could be divided, as a "
            "transformer has: leave it out, so that every rank holds all of it."
        )
    if layout.tensor > 1:
        from fledge.scale.tensor_parallel import check_can_be_divided

        for network in networks:
            check_can_be_divided(network, layout.tensor)


def check_disk(folder: Path) -> None:
    """Raises UserError, on every rank, where one does not see the run's folder of the first:
    each writes its own part of a checkpoint.
    """
    real = Path(ranks.from_first(lambda: str(folder.absolute())))
    try:
        lineage = (real / "lineage.json").read_bytes()
    except OSError:
        lineage = b""
    each = ranks.gather(lineage)
    for rank, seen in enumerate(each):
        if seen != each[0]:
            raise UserError(
                f"rank {rank} does not see {real}, where rank 0 saves: with shard=fsdp every rank "
                "writes its own part of a checkpoint, so give an `out` on a disk that all machines "
                "share, or leave shard out."
            )


def _list_networks(module: nn.Module) -> list[Transformer]:
    return [part for part in module.modules() if isinstance(part, Transformer)]


def _without_weights(network: Transformer) -> Transformer:
    """A copy whose parameters take no memory."""
    memo = {
        id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in network.parameters()
    }
    return copy.deepcopy(network, memo)
