"""Every way to lay a step out over ranks, and of those that fit the fastest, and the one that takes
fewest GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fledge.costs.machine import Machine
from fledge.costs.prediction import EFFICIENCY, Prediction, predict
from fledge.costs.work import RankLayout, Work, check_layout
from fledge.errors import UserError


@dataclass(frozen=True)
class Wishes:
    """What of a layout is given; None is left to the search. divided: whether blocks' weights are
    (shard=fsdp) or are not.
    """

    divided: bool | None = None
    replicas: int | None = None
    tensor: int | None = None
    gradient_checkpointing: bool | None = None
    rows: int | None = None
    half: bool = True

    @property
    def travel_in_half(self) -> bool:
        """A field of shard=fsdp."""
        return self.half and self.divided is not False

    def allow(self, layout: RankLayout) -> bool:
        return (
            (self.divided in (None, layout.shards > 1) or layout.groups == 1)
            and self.replicas in (None, layout.replicas)
            and self.tensor in (None, layout.tensor)
            and self.gradient_checkpointing in (None, layout.gradient_checkpointing)
        )


def list_layouts(work: Work, gpus: int, per_node: int, wishes: Wishes) -> Iterator[RankLayout]:
    """Of so many GPUs. Tensor ranks stay within a node: they wait for each other in every layer."""
    for tensor in _divide(gpus):
        if tensor > per_node and wishes.tensor != tensor:
            continue
        for replicas in _divide(gpus // tensor):
            shards = gpus // tensor // replicas
            for checkpointing in (False, True):
                for rows in list_rows(work, replicas * shards, wishes):
                    half = wishes.travel_in_half and (shards > 1 or tensor > 1)
                    layout = RankLayout(replicas, shards, tensor, half, checkpointing, rows)
                    if wishes.allow(layout):
                        yield layout


def list_rows(work: Work, groups: int, wishes: Wishes) -> list[int]:
    """How many rows at a time are worth trying: powers of two up to a rank's."""
    own = max(1, -(-work.rows // groups))
    if wishes.rows is not None:
        return [min(wishes.rows, own)]
    return [2**n for n in range(own.bit_length())]


def predict_layouts(
    work: Work, machine: Machine, gpus: int, wishes: Wishes, efficiency: float = EFFICIENCY
) -> list[Prediction]:
    """Of every layout that can be, those that fit first, the fastest first; of those that do not
    the one that lacks least.

    Raises UserError where none can be.
    """
    predictions, reason = [], None
    for layout in list_layouts(work, gpus, machine.per_node, wishes):
        laid = work.under(layout)
        try:
            check_layout(laid)
        except UserError as error:
            reason = error
            continue
        predictions.append(predict(laid, machine, efficiency))
    if not predictions:
        raise reason or UserError(
            f"no layout of gpus={gpus} is as you gave it: replicas × tensor_parallel must divide "
            "the number of GPUs."
        )
    return sorted(predictions, key=_order)


def _order(prediction: Prediction) -> tuple[bool, float, float]:
    speed = -prediction.tokens_per_second if prediction.fits else prediction.needed
    return not prediction.fits, speed, prediction.needed


def find_fewest(
    work: Work, machine: Machine, gpus: int, wishes: Wishes, efficiency: float = EFFICIENCY
) -> Prediction | None:
    """The fastest layout on the fewest GPUs that hold it, of 1, 2, 4 … and `gpus`."""
    for number in [n for n in (2**k for k in range(gpus.bit_length())) if n < gpus] + [gpus]:
        try:
            best = predict_layouts(work, machine, number, wishes, efficiency)[0]
        except UserError:
            continue
        if best.fits:
            return best
    return None


def _divide(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
