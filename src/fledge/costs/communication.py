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
    listed = [*_of_blocks(work), *_of_whole_tensors(work), *_of_activations(work)]
    return [each for each in listed if each.group > 1]


def _of_blocks(work: Work) -> list[Collective]:
    """Blocks whose weights are divided: gathered forward and backward, their gradients' sum
    scattered, in every micro-batch; where replicas have the same part, its gradients are summed
    then (HSDP).
    """
    layout = work.layout
    if not layout.divides:
        return []
    spread = layout.shards * layout.tensor
    listed = []
    for block, number in work.tensors.blocks:
        numbers, times = work.count_padded(block), number * work.pieces
        part = NUMBER * numbers // layout.shards
        listed += [
            Collective(
                "all-gather", "a block's weights", work.gathered * numbers,
                layout.shards, spread, 2 * times,
            ),
            Collective(
                "reduce-scatter", "a block's gradients", NUMBER * numbers,
                layout.shards, spread, times,
            ),
            Collective(
                "all-reduce", "a part's gradients", part, layout.replicas, layout.ranks, times
            ),
        ]  # fmt: skip
    return listed


def _of_whole_tensors(work: Work) -> list[Collective]:
    """Gradients of what every rank holds whole, once a step, in buckets."""
    layout = work.layout
    whole = work.tensors.outside if layout.divides else work.tensors.every
    return [
        Collective(
            "all-reduce", "whole gradients", NUMBER * numbers, layout.ranks, layout.ranks, times
        )
        for numbers, times in Counter(list_buckets(whole)).items()
    ]


def _of_activations(work: Work) -> list[Collective]:
    """Between tensor ranks: the sums that leave attention and MLP, forward and backward, and
    forward again where activations are computed again.
    """
    passes = 3 if work.layout.gradient_checkpointing else 2
    size = work.width * work.piece_tokens * work.sizes.width
    times = 2 * passes * work.sizes.layers * work.pieces
    tensor = work.layout.tensor
    return [Collective("all-reduce", "hidden states", size, tensor, tensor, times)]


def list_buckets(shapes: Sequence[Shape]) -> list[int]:
    """Numbers that are summed at once, transfer by transfer."""
    numbers = [math.prod(shape) for shape in shapes]
    return [sum(bucket) for bucket in fill_buckets(numbers, lambda each: each)]
