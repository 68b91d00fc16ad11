"""The processes that `torchrun` has started meet: rank, world, device and backend out of its
environment, and a watch over who is still there.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from fledge import ranks
from fledge.errors import UserError
from fledge.scale.watch import FirstWatch, OtherWatch, Watch, open_listener

# Nobody is waited for by the clock: an evaluation of the first rank may take hours, and that a rank
# has died is what the watch is for.
PATIENCE = timedelta(days=7)
MEETING = timedelta(minutes=10)  # until all must have come: machines start one after the other
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """Of one process among those that train together.

    local_rank: its number on its machine, which is the number of its GPU.
    """

    rank: int
    world: int
    local_rank: int
    host: str


def read_place(environment: Mapping[str, str]) -> Place:
    """Raises UserError for an environment that no launcher makes."""
    lacking = [name for name in NAMES if not environment.get(name)]
    if lacking:
        raise UserError(
            f"WORLD_SIZE={environment.get('WORLD_SIZE')} is set without {', '.join(lacking)}: "
            "start several processes by `torchrun --nproc-per-node N -m fledge …`, or unset it."
        )
    try:
        rank, world, local = (int(environment[name]) for name in NAMES[:3])
    except ValueError as error:
        raise UserError(
            f"RANK, WORLD_SIZE and LOCAL_RANK must be whole numbers ({error}): leave them to "
            "torchrun."
        ) from None
    if not 0 <= rank < world:
        raise UserError(f"RANK={rank} is none of the {world} ranks: leave it to torchrun.")
    return Place(rank, world, local, environment["MASTER_ADDR"])


@contextmanager
def meet(place: Place) -> Iterator[Watch]:
    """The default process group of torch.distributed until the block ends, and its watch.

    Raises UserError for a machine with fewer GPUs than processes, and where they cannot meet.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        check_gpus(place.local_rank, torch.cuda.device_count())
        torch.cuda.set_device(place.local_rank)
        # What is told as Python's objects goes over the CPU.
        backend = "cpu:gloo,cuda:nccl"
    try:
        store, _, _ = next(rendezvous("env://", place.rank, place.world, timeout=MEETING))
        distributed.init_process_group(
            backend, store=store, rank=place.rank, world_size=place.world, timeout=PATIENCE
        )
    except (RuntimeError, ValueError) as error:  # distributed.DistError is a RuntimeError
        reason = str(error).splitlines()[0]
        raise UserError(
            f"rank {place.rank} of {place.world} cannot meet the others at {place.host}:"
            f"{os.environ['MASTER_PORT']} ({reason}): give torchrun another --master-port, or "
            "`--standalone` on one machine."
        ) from error
    watch = begin_watch(place)
    ranks.when_lost(watch.explain_loss)
    before = signal.signal(signal.SIGTERM, watch.end_in_order)
    try:
        yield watch
    finally:
        signal.signal(signal.SIGTERM, before)
        ranks.when_lost(None)
        distributed.destroy_process_group()  # whoever waits for this one waits no more
        watch.close()


def check_gpus(local_rank: int, gpus: int) -> None:
    """Raises UserError for a process without a GPU of its own."""
    if local_rank >= gpus:
        raise UserError(
            f"--nproc-per-node is more than the {gpus} GPU{'s' * (gpus != 1)} of this machine: "
            "give as many processes as GPUs, or hide them (CUDA_VISIBLE_DEVICES=) to use CPUs."
        )


def begin_watch(place: Place) -> Watch:
    """The first rank listens, and all others hold a connection to it."""
    if place.rank:
        port, word = ranks.from_first(lambda: (0, ""))
        return OtherWatch(place.rank, place.host, port, word)
    word, listener = secrets.token_hex(16), open_listener()
    ranks.from_first(lambda: (listener.getsockname()[1], word))
    return FirstWatch(listener, place.world, word)
