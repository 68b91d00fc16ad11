"""The collectives of one step of a divided network, counted without weights and without the other
ranks: tensors that have shapes alone, and torch.distributed's fake backend.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import distributed
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from fledge import ranks
from fledge.costs.communication import Collective, Kind
from fledge.costs.work import Work
from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy
from fledge.scale.planned import divide_as_planned
from fledge.sharded import is_part

# What torch.distributed calls them, and which of their arguments is the tensor that is whole.
_KINDS: dict[str, tuple[Kind, int]] = {
    "c10d._allgather_base_": ("all-gather", 0),
    "c10d._reduce_scatter_base_": ("reduce-scatter", 1),
    "c10d.allreduce_": ("all-reduce", 0),
    "_c10d_functional.all_reduce": ("all-reduce", 0),
}
Counted = Counter[tuple[Kind, int]]  # how often a step, by kind and bytes of the whole tensor


class Counting(TorchDispatchMode):
    """Counts the collectives that are asked for while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counted = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if str(func.overloadpacket) in _KINDS:
            kind, place = _KINDS[str(func.overloadpacket)]
            whole = args[place]
            for tensor in whole if isinstance(whole, list | tuple) else [whole]:
                self.counted[kind, tensor.numel() * tensor.element_size()] += 1
        return func(*args, **(kwargs or {}))


def count_collectives(work: Work) -> Counted:
    """Of all micro-batches' passes and the sum of gradients.

    It is the default process group of this process while it counts.
    """
    store = FakeStore()
    distributed.init_process_group("fake", rank=0, world_size=work.layout.ranks, store=store)
    try:
        # A network that is divided computes once with a token of its own.
        shapes = FakeTensorMode(allow_non_fake_inputs=True)
        with shapes:
            policy = TokenPolicy(Transformer(work.sizes))
            rows = torch.zeros(work.layout.rows, work.tokens + 1, dtype=torch.long)
        with warnings.catch_warnings():
            # It copies tensors without numbers, of whose addresses torch warns.
            warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
            divide_as_planned(policy, work.layout)  # asks for ranks, whose numbers are no fake ones
        half = torch.autocast("cpu", torch.bfloat16, enabled=work.precision == "bf16")
        with Counting() as counting, shapes:
            for _ in range(work.pieces):
                with half:
                    loss = policy.log_prob(rows, rows[:, 1:]).sum()
                loss.backward()
            whole = [p for p in policy.parameters() if not is_part(p)]
            ranks.add_up(p.grad for p in whole if p.grad is not None)
        return counting.counted
    finally:
        ranks.share_rows(1)
        distributed.destroy_process_group()


def as_counted(collectives: Sequence[Collective]) -> Counted:
    """A plan's, in the same form."""
    counted: Counted = Counter()
    for each in collectives:
        counted[each.kind, each.size] += each.times
    return counted
