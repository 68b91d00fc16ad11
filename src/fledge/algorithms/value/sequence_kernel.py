"""What sequences of actions are worth in an ensemble, by the C of `csrc/` where it can be compiled:
all steps of a sequence in one call, in place of a dozen operations of torch a step.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from ctypes import Array, Structure, addressof, byref, c_float, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from fledge.algorithms.value.library import load_kernel
from fledge.models.control.world_ensemble import SIGMAS, MemberLayers, WorldEnsemble
from fledge.plan.rolling_out import Dynamics, TerminalValue, roll_out


class _Layer(Structure):
    """As `Layer` of sequences.c."""

    _fields_ = [
        ("weight", c_void_p), ("bias", c_void_p), ("inside", c_int64), ("outside", c_int64),
    ]  # fmt: skip


class _Work(Structure):
    """As `Work` of sequences.c."""

    _fields_ = [
        ("change", c_void_p), ("ends", c_void_p),
        *((name, c_void_p) for name in (
            "seen_mean", "seen_shrink", "changed_mean", "changed_spread", "most", "least", "obs",
            "numbers", "choices", "noise", "state", "worth", "going",
        )),
        *((name, c_int64) for name in (
            "change_depth", "end_depth", "members", "rows", "candidates", "horizon", "width",
            "acted", "widest",
        )),
        ("gamma", c_float), ("farthest", c_float),
    ]  # fmt: skip


def weigh_sequences(
    dynamics: Dynamics,
    obs: Tensor,
    sequences: Tensor,
    gamma: float,
    generator: torch.Generator,
    final: TerminalValue | None = None,
) -> Tensor:
    """As `roll_out`, to the last digits of float32; by it, where the library cannot do it: another
    world than an ensemble on the processor, or a slope that is wanted. All noise is drawn at once:
    where a step's draws are no whole blocks of 16 they are others than those of `roll_out`, as
    good.  [B, *O], [B, N, H, *A] -> [B, N]
    """
    fit = (
        isinstance(dynamics, WorldEnsemble)
        and not (torch.is_grad_enabled() and sequences.requires_grad)
        and all(x.dtype == torch.float32 and x.is_cpu for x in (obs, dynamics.most))
    )
    library = load_kernel() if fit else None
    if library is None or not isinstance(dynamics, WorldEnsemble):
        return roll_out(dynamics, obs, sequences, gamma, generator, final)
    worth, going, state = follow(library, dynamics, obs, sequences, gamma, generator)
    if final is not None:
        beyond = final(dynamics.observe(state))
        worth = worth + gamma ** sequences.shape[2] * going * beyond
    return worth.mean(0).view(sequences.shape[:2])


@torch.no_grad()
def follow(
    library: Any,
    world: WorldEnsemble,
    obs: Tensor,
    sequences: Tensor,
    gamma: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Every member's way along every sequence.  -> what it paid and the chance that it still goes
    on [E, R], and where it leads [E, R, O], R = B·N

    Raises MemoryError.
    """
    B, N, H = sequences.shape[:3]
    E, R, O = world.members, B * N, world.width  # noqa: E741
    change, ends = _point_at(world.layers), _point_at(world.ends)
    told = sequences.reshape(R, H, -1).contiguous()
    told = told.squeeze(2) if world.choices is not None else told.float()
    noise = torch.randn(H, E, R, O + 1, generator=generator) if world.sampled else None
    state, worth, going = torch.empty(E, R, O), torch.empty(E, R), torch.empty(E, R)
    held = [  # as long as C reads them
        world.seen.mean, 1 / world.seen.spread, world.changed.mean, world.changed.spread,
        world.most.exp(), world.least.exp(), obs.flatten(1).contiguous(),
        *((None, told) if world.choices is not None else (told, None)), noise, state, worth, going,
    ]  # fmt: skip
    work = _Work(
        addressof(change), addressof(ends),
        *(None if x is None else x.data_ptr() for x in held),
        len(change), len(ends), E, R, N, H, O, world.choices or told.shape[-1],
        max(layer.outside for layer in (*change, *ends)), gamma, SIGMAS,
    )  # fmt: skip
    threads = min(torch.get_num_threads(), E)
    cuts = [E * thread // threads for thread in range(threads + 1)]

    def job(thread: int) -> int:
        return library.follow_sequences(byref(work), cuts[thread], cuts[thread + 1])

    if threads == 1:
        failed = [job(0)]
    else:
        with ThreadPoolExecutor(threads) as pool:  # C lets the others run
            failed = list(pool.map(job, range(threads)))
    if any(failed):
        raise MemoryError
    return worth, going, state


def _point_at(layers: MemberLayers) -> Array[_Layer]:
    each = [
        _Layer(weight.data_ptr(), bias.data_ptr(), *weight.shape[1:])
        for weight, bias in zip(layers.weight, layers.bias, strict=True)
    ]
    return (_Layer * len(each))(*each)
