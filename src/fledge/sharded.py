"""Weights of which each rank holds a part (FSDP2, tensor parallelism): whole tensors out of parts,
parts out of whole ones, and a network whose parts are together for a while. A network that is whole
is left alone.

By what such tensors and modules can do, not by their types: a run of one process imports none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fledge import ranks


def is_part(x: Any) -> bool:
    """Whether each rank holds a part of this tensor."""
    return hasattr(x, "full_tensor")


def row_order(x: Any) -> Tensor | None:
    """Where rows lie in an order of their own, so that a rank's part is contiguous: which row of
    the whole each is.  -> [O] long
    """
    return getattr(x, "row_order", None)


def put_together(x: Any, like: Any = None) -> Any:
    """The tensor, whole, its rows in the order of the whole. Every rank asks for the same.

    like: the parameter whose rows it has, or itself.
    """
    order = row_order(x if like is None else like)
    if is_part(x):
        # One dimension of ranks after the other: torch warns of what it does in one call.
        for done in range(1, x.device_mesh.ndim + 1):
            x = x.redistribute(placements=(_replicate(),) * done + x.placements[done:])
        x = x.to_local()
    return x if order is None else x[order.argsort()]


def cut_like(whole: Tensor, part: Tensor) -> Tensor:
    """This rank's part of a whole tensor, cut as `part` is; itself where that is whole."""
    if not is_part(part):
        return whole
    from torch.distributed.tensor import distribute_tensor

    like: Any = part
    order = row_order(part)
    whole = (whole if order is None else whole[order]).to(like.device)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


def local_part(x: Any) -> Tensor:
    """What this rank holds of a tensor, as a view."""
    return x.to_local() if is_part(x) else x


def square_sum(tensors: Sequence[Tensor]) -> Tensor:
    """Σ of the squares of all numbers of all tensors, of which some are parts, each number counted
    once, however many ranks hold it.  -> [] float64
    """
    own = torch.zeros((), dtype=torch.float64)
    shared = torch.zeros((), dtype=torch.float64)
    for x in tensors:
        square = local_part(x).norm().cpu().double() ** 2
        if is_part(x):
            shared += square * _count_parts(x) / ranks.world()
        else:
            own += square
    ranks.add_up([shared])
    return own + shared


def _count_parts(x: Any) -> int:
    """Into how many different parts a tensor is divided."""
    sizes = zip(x.placements, x.device_mesh.shape, strict=True)
    return math.prod(size for placement, size in sizes if not placement.is_replicate())


def _replicate() -> Any:
    from torch.distributed.tensor import Replicate

    return Replicate()


def find_sharded(module: nn.Module) -> list[Any]:
    """The modules whose weights are divided."""
    return [part for part in module.modules() if hasattr(part, "unshard")]


@contextmanager
def held_whole(module: nn.Module) -> Iterator[None]:
    """Every rank has all weights, gathered once, until the block ends: then one rank alone may
    compute, or each as often as it likes.
    """
    with ExitStack() as held:
        parts: list[Any] = list(module.modules())
        for part in parts:
            if hasattr(part, "hold_whole"):
                held.enter_context(part.hold_whole())
        divided = find_sharded(module)  # none where others stand in for them
        for part in divided:
            part.set_reshard_after_forward(False)
            part.unshard()
        try:
            yield
        finally:
            for part in divided:
                part.set_reshard_after_forward(part.reshards)
                part.reshard()
