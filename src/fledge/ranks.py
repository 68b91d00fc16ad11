"""What the processes that train one model together tell each other: whose rows are whose, sums, and
what the first of them knows. In one process nothing is asked of anybody.

Every rank holds the whole batch of a step, some 15 bytes a token; what is divided is what costs:
completions, forward passes, gradients. So a group, a denominator, a normaliser or a permutation is
what it is in one process, whatever the number of ranks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


class Done(Exception):
    """A rank that is not the first has nothing more to do."""


# So many neighbours compute the same rows, each a part of every product of a block.
_sharing = 1
BUCKET = 2**24  # numbers that are summed at once: 64 MB of float32

# Seconds this process has spent in the calls below since `take_waited`: the time that the others
# took longer, and that of the transfer.
_waited = 0.0
_left = time.perf_counter()  # when the last of them was done
_explain: Callable[[], None] | None = None
_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """In the block this process is one by itself: what it computes there is shared with nobody, and
    nobody is asked for anything.
    """
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def world() -> int:
    """How many ranks there are."""
    if _alone:
        return 1
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


def rank() -> int:
    """The number of this one, from 0."""
    return distributed.get_rank() if world() > 1 else 0


def is_first() -> bool:
    """Whether this process writes the run, judges, and speaks."""
    return rank() == 0


def share_rows(number: int) -> None:
    """From now on so many neighbours compute the same rows together."""
    global _sharing
    _sharing = number


def sharing() -> int:
    """How many neighbours compute the same rows."""
    return _sharing


def counts_rows() -> bool:
    """Whether this rank is the one of those with the same rows whose figures are added up."""
    return rank() % _sharing == 0


def own_places(lengths: Tensor) -> Tensor:
    """Which rows of a batch this rank computes: every `world`-th in the order of length, so that
    each rank has as much to do; neighbours that share rows are one.  [B] -> [b] long, a function of
    the batch, rank and world alone
    """
    return places_of_each(lengths)[rank() // _sharing]


def places_of_each(lengths: Tensor) -> list[Tensor]:
    """The rows of every rank, or of all neighbours that share theirs."""
    order = lengths.argsort(descending=True, stable=True)
    number = world() // _sharing
    return [order[first::number] for first in range(number)]


def add_up(tensors: Iterable[Tensor]) -> None:
    """Each becomes its sum over ranks, in place. All ranks give the same shapes in the same
    order.
    """
    if world() == 1:
        return
    for bucket in fill_buckets(tensors, torch.numel, lambda x: x.dtype):
        _add_up(bucket)


def fill_buckets(
    items: Iterable[T], count: Callable[[T], int], kind: Callable[[T], Any] = type
) -> Iterator[list[T]]:
    """What is summed in one transfer: neighbours of one kind with up to BUCKET numbers together,
    and at least one.
    """
    bucket: list[T] = []
    for x in items:
        full = sum(map(count, bucket)) + count(x) > BUCKET
        if bucket and (full or kind(x) != kind(bucket[0])):
            yield bucket
            bucket = []
        bucket.append(x)
    if bucket:
        yield bucket


def _add_up(bucket: list[Tensor]) -> None:
    """One transfer for all of them: a small one takes as long as the wait for an answer."""
    flat = torch.cat([x.detach().reshape(-1) for x in bucket])
    _timed(lambda: distributed.all_reduce(flat))
    for x, summed in zip(bucket, flat.split([x.numel() for x in bucket]), strict=True):
        x.detach().copy_(summed.view_as(x))


def gather(x: T) -> list[T]:
    """Every rank's x, in the order of ranks."""
    if world() == 1:
        return [x]
    gathered: list[Any] = [None] * world()
    _timed(lambda: distributed.all_gather_object(gathered, x))
    return gathered


def deal(items: list[T]) -> list[T]:
    """This rank's share of a list that all ranks have: every `world`-th."""
    return items[rank() :: world()]


def deal_level(costs: list[int]) -> list[int]:
    """The places of this rank's share, such that the costs of all shares are as level as dealing
    them to and fro in their order makes them; a share has as many items as `deal` gives.
    """
    order = sorted(range(len(costs)), key=lambda place: -costs[place])
    own = []
    for begin in range(0, len(order), world()):
        turn = order[begin : begin + world()]
        if begin // world() % 2 and len(turn) == world():
            turn.reverse()
        own += turn[rank() : rank() + 1]
    return sorted(own)


def collect(own: list[T]) -> list[T]:
    """All ranks' answers to what `deal` gave them, in the order of the list."""
    shares = gather(own)
    if len(shares) == 1:
        return own
    return [shares[i % len(shares)][i // len(shares)] for i in range(sum(map(len, shares)))]


def from_first(make: Callable[[], T]) -> T:
    """What the first rank makes, told to all. The others wait, and call nothing."""
    if world() == 1:
        return make()
    told: list[Any] = [make() if is_first() else None]
    _timed(lambda: distributed.broadcast_object_list(told, src=0))
    return told[0]


def first_then_others(make: Callable[[], T]) -> T:
    """Every rank makes it, the others when the first has: they find what it has left on disk."""
    made = make() if is_first() else None
    from_first(lambda: True)
    return make() if made is None and not is_first() else made  # pyright: ignore[reportReturnType]


def any_says(flag: bool) -> bool:
    """Whether any rank says so: all do the same then, at the same step."""
    return flag if world() == 1 else any(gather(flag))


def take_waited() -> float:
    """Seconds that this process has waited for others since it was last asked."""
    global _waited
    seconds, _waited = _waited, 0.0
    return seconds


def since_last() -> float:
    """Seconds since this process has left the last of these calls."""
    return time.perf_counter() - _left


def when_lost(explain: Callable[[], None] | None) -> None:
    """explain: called when a call below has failed; raises what is to be said of it, if a rank is
    lost. None: nobody is asked any more.
    """
    global _explain
    _explain = explain


def _timed(call: Callable[[], Any]) -> None:
    global _waited, _left
    began = time.perf_counter()
    try:
        call()
    except RuntimeError:
        if _explain is not None:
            _explain()
        raise
    _left = time.perf_counter()
    _waited += _left - began
