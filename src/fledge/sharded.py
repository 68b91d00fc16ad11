"""Weights of which each rank holds a part (FSDP2): whole tensors out of parts, parts out of whole
ones, and a network whose parts are together for a while. A network that is whole is left alone.

By what such tensors and modules can do, not by their types: a run of one process imports none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fledge import ranks


def is_part(x: Any) -> bool:
    """Whether each rank holds a part of this tensor."""
    return hasattr(x, "full_tensor")


def put_together(state: Any) -> Any:
    """The state with every tensor whole. Every rank asks for the same."""
    if is_part(state):
        return state.full_tensor()
    if isinstance(state, dict):
        return {key: put_together(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(put_together(value) for value in state)
    return state


def cut_like(whole: Tensor, part: Tensor) -> Tensor:
    """This rank's part of a whole tensor, cut as `part` is; itself where that is whole."""
    if not is_part(part):
        return whole
    from torch.distributed.tensor import distribute_tensor

    like: Any = part
    whole = whole.to(like.device)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


def square_sum(tensors: Sequence[Tensor]) -> Tensor:
    """Σ of the squares of all numbers of all tensors, of which some are parts.  -> [] float64"""
    own = torch.zeros((), dtype=torch.float64)
    shared = torch.zeros((), dtype=torch.float64)
    for x in tensors:
        local: Any = x
        if is_part(x):
            shared += local.to_local().norm().cpu().double() ** 2
        else:
            own += x.norm().cpu().double() ** 2
    ranks.add_up([shared])
    return own + shared


def find_sharded(module: nn.Module) -> list[Any]:
    """The modules whose weights are divided."""
    return [part for part in module.modules() if hasattr(part, "unshard")]


@contextmanager
def held_whole(module: nn.Module) -> Iterator[None]:
    """Every rank has all weights, gathered once, until the block ends: then one rank alone may
    compute, or each as often as it likes.
    """
    divided = find_sharded(module)
    for part in divided:
        part.set_reshard_after_forward(False)
        part.unshard()
    try:
        yield
    finally:
        for part in divided:
            part.set_reshard_after_forward(True)
            part.reshard()
