"""Weights of which each rank holds a part (FSDP2): whole tensors out of parts, parts out of whole
ones, and a network whose parts are together for a while. A network that is whole is left alone.

By what such tensors and modules can do, not by their types: a run of one process imports none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fledge import ranks
from fledge.saved_tensor import Box, SavedTensor

# Attributes of a module: its weights are read by others after it has run; who is asked beside it.
_STAYS, _BESIDE = "stays_gathered", "asked_beside"


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

    if isinstance(saved, SavedTensor):
        return DTensor.from_local(
            saved.read(find_own_box(part)).to(part.device), part.device_mesh, part.placements,
            run_check=False, shape=part.shape, stride=part.stride(),
        )  # fmt: skip
    saved = saved.to(part.device)
    return distribute_tensor(saved, part.device_mesh, part.placements, src_data_rank=None)


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
    """The modules whose weights are divided, and those of others that are asked beside it."""
    parts = [part for part in module.modules() if hasattr(part, "unshard")]
    beside = {other: None for part in parts for other in getattr(part, _BESIDE, ())}
    return parts + [part for other in beside for part in find_sharded(other)]


def mark_gathered(module: nn.Module, beside: Sequence[nn.Module] = ()) -> None:
    """Once it has run, this divided module's own weights stay together until the backward pass has
    ended. beside: others that are gathered whenever it is, as a reference that the same rows are
    put to.
    """
    setattr(module, _STAYS, True)
    setattr(module, _BESIDE, tuple(beside))  # a tuple, so that they are no parts of it


@contextmanager
def held_whole(module: nn.Module) -> Iterator[None]:
    """Every rank has all weights, gathered once, until the block ends: then one rank alone may
    compute, or each as often as it likes.
    """
    divided = find_sharded(module)
    for part in divided:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in divided:
            part.set_reshard_after_forward(not hasattr(part, _STAYS), recurse=False)
            part.reshard()
