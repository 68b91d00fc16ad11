"""Weights of which each rank holds a part (FSDP2, tensor parallelism): whole tensors out of parts,
parts out of whole ones, and a network whose parts are together for a while. A network that is whole
is left alone.

By what such tensors and modules can do, not by their types: a run of one process imports none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fledge import ranks
from fledge.saved_tensor import Box, SavedTensor

_BESIDE = "asked_beside"  # the attribute of a module that has others asked beside it


def is_part(x: Any) -> bool:
    """Whether each rank holds a part of this tensor."""
    return hasattr(x, "full_tensor")


def row_order(x: Any) -> Tensor | None:
    """Where rows lie in an order of their own, so that a rank's part is contiguous: which row of
    the whole each is.  -> [O] long
    """
    return getattr(x, "row_order", None)


def put_together(x: Any, like: Any = None) -> Any:
    """A tensor, or a state with every tensor, whole, its rows in the order of the whole. Every rank
    asks for the same.

    like: the parameter whose rows it has, or itself.
    """
    if isinstance(x, dict):
        return {key: put_together(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return type(x)(put_together(value) for value in x)
    order = row_order(x if like is None else like)
    if is_part(x):
        # One dimension of ranks after the other: torch warns of what it does in one call.
        for done in range(1, x.device_mesh.ndim + 1):
            x = x.redistribute(placements=(_replicate(),) * done + x.placements[done:])
        x = x.to_local()
    return x if order is None else x[order.argsort()]


@dataclass(frozen=True)
class Divided:
    """In a state, the place of a tensor of which each rank has a part."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


def take_parts(state: Any) -> tuple[Any, dict[str, tuple[Box, Tensor]]]:
    """The state with a `Divided` for each tensor that is a part; and by its name what this rank
    holds of it. Nothing is asked of another rank.
    """
    parts: dict[str, tuple[Box, Tensor]] = {}

    def take(value: Any, where: str) -> Any:
        if is_part(value):
            parts[where] = find_own_box(value), value.detach().to_local()
            return Divided(where, tuple(value.shape), value.dtype)
        if isinstance(value, dict):
            return {key: take(each, f"{where}.{key}") for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(take(each, f"{where}.{i}") for i, each in enumerate(value))
        return value

    return take(state, "state"), parts


def find_own_box(part: Any) -> Box:
    """Which box of a tensor this rank holds."""
    (chunk,) = part.__create_chunk_list__()
    return Box(tuple(chunk.offsets), tuple(chunk.sizes))


def cut_like(saved: Tensor | SavedTensor, like: Tensor) -> Tensor:
    """Of a tensor that was saved, whole or in parts, what this rank holds of it where it holds that
    much of `like`: a part, or all.
    """
    part: Any = like
    if not is_part(like):
        return saved.read() if isinstance(saved, SavedTensor) else saved
    from torch.distributed.tensor import DTensor, distribute_tensor

    order = row_order(part)
    if isinstance(saved, SavedTensor):
        if ranks.sharing() == 1:
            return DTensor.from_local(
                saved.read(find_own_box(part)).to(part.device), part.device_mesh, part.placements,
                run_check=False, shape=part.shape, stride=part.stride(),
            )  # fmt: skip
        saved = saved.read()  # the parts of divided products are no boxes
    saved = (saved if order is None else saved[order]).to(part.device)
    return distribute_tensor(saved, part.device_mesh, part.placements, src_data_rank=None)


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
    """The modules whose weights are divided, and those of others that are asked beside it."""
    parts = [part for part in module.modules() if hasattr(part, "unshard")]
    beside = {other: None for part in parts for other in getattr(part, _BESIDE, ())}
    return parts + [part for other in beside for part in find_sharded(other)]


def ask_beside(module: nn.Module, beside: Sequence[nn.Module]) -> None:
    """Others that are gathered whenever this divided module is, as a reference that the same rows
    are put to.
    """
    setattr(module, _BESIDE, tuple(beside))  # a tuple, so that they are no parts of it


@contextmanager
def held_whole(module: nn.Module) -> Iterator[None]:
    """Every rank has all weights, gathered once, until the block ends: then one rank alone may
    compute, or each as often as it likes.
    """
    with ExitStack() as held:
        for part in find_sharded(module):
            if hasattr(part, "hold_whole"):
                held.enter_context(part.hold_whole())
        divided = find_sharded(module)  # none where others stand in for them
        for part in divided:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            yield
        finally:
            for part in divided:
                part.set_reshard_after_forward(part.reshards, recurse=False)
                part.reshard()
