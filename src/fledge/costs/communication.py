"""What ranks send each other in a step, collective by collective, and how long it takes at least.

Of n ranks in a ring each sends (n−1)/n of the bytes that all have together to gather them or to
scatter their sum, twice that for a sum that all have (Thakur et al. 2005, §4; Patarasuk & Yuan
2009). Who divides what: Rajbhandari et al. 2020, §7 (ZeRO: 3 times the weights a step where they
are divided, 2 where they are not); Zhao et al. 2023 (FSDP); Shoeybi et al. 2019, §3 (tensor ranks).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fledge.costs.machine import Machine
from fledge.costs.memory import NUMBER
from fledge.costs.work import Shape, Work
from fledge.ranks import fill_buckets

Kind = Literal["all-gather", "reduce-scatter", "all-reduce"]


@dataclass(frozen=True)
class Collective:
    """size: bytes of the tensor whole. group: ranks that take part. spread: neighbouring ranks that
    the group spans. times: a step.
    """

    kind: Kind
    of: str
    size: int
    group: int
    spread: int
    times: int

    @property
    def sent(self) -> float:
        """Bytes a step that each rank sends."""
        rounds = 2 if self.kind == "all-reduce" else 1
        return rounds * (self.group - 1) / self.group * self.size * self.times

    def seconds(self, machine: Machine) -> float:
        """A step, by bandwidth alone: no latency, no waiting for others."""
        return self.sent / machine.rate_between(self.spread)


def list_collectives(work: Work) -> list[Collective]:
    """Of one optimizer step; beside them are some hundred bytes of figures."""
    weights = _of_parts(work) if work.layout.divides else _of_whole_tensors(work)
    listed = [*weights, *_of_activations(work)]
    return [each for each in listed if each.group > 1]


def _of_parts(work: Work) -> list[Collective]:
    """In every micro-batch a block's weights are gathered forward and backward, those of embeddings
    and head once, in float32, and each one's gradients summed and scattered; where replicas have
    the same part, its gradients are summed then (HSDP).
    """
    listed = []
    for numbers, number in work.blocks:
        listed += _of_one(work, "a block", numbers, work.gathered, 2 * number, number)
    return listed + _of_one(work, "embeddings and head", work.outside, NUMBER, 1, 1)


def _of_one(
    work: Work, name: str, numbers: int, width: int, gathered: int, summed: int
) -> list[Collective]:
    """width: bytes of a number as it is gathered. gathered, summed: times a micro-batch."""
    layout, pieces, size = work.layout, work.pieces, NUMBER * numbers
    shards, spread = layout.shards, layout.shards * layout.tensor
    return [
        Collective(
            "all-gather", f"{name}: weights", width * numbers, shards, spread, gathered * pieces
        ),
        Collective("reduce-scatter", f"{name}: gradients", size, shards, spread, summed * pieces),
        Collective(
            "all-reduce", f"{name}: a part's gradients", size // shards, layout.replicas,
            layout.ranks, summed * pieces,
        ),
    ]  # fmt: skip


def _of_whole_tensors(work: Work) -> list[Collective]:
    """Gradients of what every rank holds whole, once a step, in buckets."""
    layout = work.layout
    return [
        Collective(
            "all-reduce", "whole gradients", NUMBER * numbers, layout.ranks, layout.ranks, times
        )
        for numbers, times in Counter(list_buckets(work.tensors.every)).items()
    ]


def _of_activations(work: Work) -> list[Collective]:
    """Between tensor ranks: the sums that leave attention and MLP in a product's precision, those
    of what enters them backward in that of a norm's result, and the first again where a block is
    computed again, which ends before the last.
    """
    numbers, tensor = work.piece_tokens * work.sizes.width, work.layout.tensor
    times = work.sizes.layers * work.pieces
    forward = (3 if work.layout.gradient_checkpointing else 2) * times
    return [
        Collective("all-reduce", name, width * numbers, tensor, tensor, number)
        for name, width, number in (
            ("hidden states", work.width, forward),
            ("hidden states' gradients", work.stream, 2 * times),
        )
    ]


def list_buckets(shapes: Sequence[Shape]) -> list[int]:
    """Numbers that are summed at once, transfer by transfer."""
    numbers = [math.prod(shape) for shape in shapes]
    return [sum(bucket) for bucket in fill_buckets(numbers, lambda each: each)]
