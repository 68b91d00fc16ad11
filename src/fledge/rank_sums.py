"""What an optimizer step needs of all ranks together: each one's rows, gradients and figures
summed, the norm of tensors that may lie in parts, and a rank's part of a state saved whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fledge import ranks
from fledge.saved_tensor import SavedTensor
from fledge.sharded import cut_like, find_sharded, is_part, local_part, put_together, square_sum
from fledge.step_exchange import exchange
from fledge.trained_state import trained_state


def own_rows(batch: Any) -> Any:
    """This rank's rows of a batch that every rank has."""
    return batch if ranks.world() == 1 else batch[own_places(batch)]


def join_rows(own: Tensor, batch: Any) -> Tensor:
    """[b, …] of this rank's rows -> [B, …], those of every rank."""
    whole = own.new_zeros(len(batch), *own.shape[1:])
    if ranks.counts_rows():
        whole[own_places(batch).to(own.device)] = own
    ranks.add_up([whole])
    return whole


def own_places(batch: Any) -> Tensor:
    """Which rows of a batch this rank computes.  -> [b] long"""
    if ranks.world() == 1:
        return torch.arange(len(batch))
    return ranks.own_places(batch.lengths.cpu().sum(1))


class Cuts(Protocol):
    """Which rows are computed with together."""

    def cut_with_rows(self, batch: Any) -> Iterator[tuple[Any, Tensor]]: ...


def own_pieces(batch: Any, micro_batches: Cuts) -> Iterator[tuple[Any, Tensor]]:
    """This rank's rows in micro-batches, and which rows of the batch each has: none where there are
    more ranks than rows.
    """
    if ranks.world() == 1:
        yield from micro_batches.cut_with_rows(batch)
    elif len(places := own_places(batch)):
        for piece, rows in micro_batches.cut_with_rows(own_rows(batch)):
            yield piece, places[rows]


def level_pieces(
    own: Sequence[tuple[Any, Tensor]],
    batch: Any,
    module: nn.Module,
    count: Callable[[Tensor], int],
) -> Iterator[tuple[Any, Tensor, bool]]:
    """This rank's pieces of a batch, which rows they have, and whether they count. Where ranks hold
    parts of the weights all compute equally often: one with fewer pieces computes the first row
    again, for nothing.

    count: of the rows at these places, how many pieces they are.
    """
    most = len(own)
    if ranks.world() > 1 and find_sharded(module):
        lengths = batch.lengths.cpu().sum(1)
        most = max(map(count, ranks.places_of_each(lengths)))
    yield from ((piece, rows, True) for piece, rows in own)
    for _ in range(most - len(own)):
        yield batch[:1].trim(), torch.zeros(1, dtype=torch.long), False


def sum_over_ranks(
    parameters: Sequence[nn.Parameter], figures: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Gradients, in place, and figures summed over ranks, of which some may have had no rows at
    all.
    """
    if ranks.world() == 1:
        return figures
    counts = ranks.counts_rows()
    own = {name: float(value) if counts else 0.0 for name, value in figures.items()}
    each = exchange((own, [p.grad is not None for p in parameters]))
    for parameter, *taught in zip(parameters, *(marks for _, marks in each), strict=True):
        # A rank without a part of the loss still takes part in the sum.
        if any(taught) and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    # Those of parts have been added up as they were made.
    whole = [p for p in parameters if p.grad is not None and not is_part(p)]
    if not counts:
        for p in whole:
            p.grad = torch.zeros_like(p)
    ranks.add_up(p.grad for p in whole if p.grad is not None)
    summed: dict[str, float] = {}
    for said, _ in each:
        for name, value in said.items():
            summed[name] = summed.get(name, 0.0) + value
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in summed.items()}


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Of all their numbers, wherever they are.  -> []

    torch's own, of parts alone, is a DTensor whose value is right on every rank; of parts and whole
    tensors together it raises (2.13: "got mixed torch.Tensor and DTensor"). Of whole tensors it is
    what stands here, behind a sorting of them by device and type that takes as long.
    """
    if any(map(is_part, tensors)):
        return square_sum(tensors).sqrt()
    if not tensors:
        return torch.zeros(())
    norms = torch._foreach_norm(list(tensors))  # pyright: ignore[reportPrivateImportUsage]
    return torch.linalg.vector_norm(torch.stack(norms))


def cut_weights(state: Mapping[str, Tensor | SavedTensor], module: nn.Module) -> dict[str, Any]:
    """What this rank holds of weights that were saved, whole or in parts, by their names."""
    now = trained_state(module) | dict(module.named_parameters(remove_duplicate=False))
    return {name: cut_like(x, now[name]) if name in now else x for name, x in state.items()}


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """`trained_state`, of which this rank has its parts: whole where ranks divide products, whose
    parts are no boxes of the whole.
    """
    state = trained_state(module)
    return state if ranks.sharing() == 1 else gather(state, module)


def gather(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """A state of the module's with every tensor whole. Every rank asks for the same."""
    held = dict(module.named_parameters(remove_duplicate=False))
    return {name: put_together(x, held.get(name)) for name, x in state.items()}


def moments_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state, as `state_of` has that of a module."""
    state = optimizer.state_dict()
    if ranks.sharing() == 1 or "state" not in state:
        return state
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {
            name: put_together(x, parameters[number]) if is_part(x) else x
            for name, x in each.items()
        }
        for number, each in state["state"].items()
    }
    return {**state, "state": moments}


def scale_gradients(parameters: Sequence[nn.Parameter], factor: Tensor) -> None:
    """In place, this rank's parts of them."""
    own = [local_part(p.grad) for p in parameters if p.grad is not None]
    torch._foreach_mul_(  # pyright: ignore[reportPrivateImportUsage]
        own, factor.to(own[0].device)
    )


def cut_moments(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The same of a state of this optimizer's: what is as large as a weight lies as the weight
    does. It is stepped by the kernels that suit this rank's tensors.
    """
    if "state" not in state:  # of several as one, whose weights are whole
        return state
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {
            name: cut_like(x, parameters[number]) if x.shape == parameters[number].shape else x
            for name, x in each.items()
        }
        for number, each in state["state"].items()
    }
    pairs = zip(state["param_groups"], optimizer.param_groups, strict=True)
    groups = [
        {**saved, **{name: own[name] for name in ("fused", "foreach") if name in own}}
        for saved, own in pairs
    ]
    return {**state, "state": moments, "param_groups": groups}
