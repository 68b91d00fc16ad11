"""What an optimizer step needs of all ranks together: each one's rows, gradients and figures
summed, the norm of tensors that may lie in parts, and a rank's part of a state saved whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fledge import ranks
from fledge.sharded import cut_like, find_sharded, is_part, square_sum
from fledge.trained_state import trained_state


def own_rows(batch: Any) -> Any:
    """This rank's rows of a batch that every rank has."""
    return batch if ranks.world() == 1 else batch[own_places(batch)]


def join_rows(own: Tensor, batch: Any) -> Tensor:
    """[b, …] of this rank's rows -> [B, …], those of every rank."""
    whole = own.new_zeros(len(batch), *own.shape[1:])
    whole[own_places(batch).to(own.device)] = own
    ranks.add_up([whole])
    return whole


def own_places(batch: Any) -> Tensor:
    """Which rows of a batch this rank computes.  -> [b] long"""
    if ranks.world() == 1:
        return torch.arange(len(batch))
    return ranks.own_places(batch.lengths.cpu().sum(1))


def level_pieces(
    own: Sequence[tuple[Any, Tensor]], batch: Any, module: nn.Module
) -> Iterator[tuple[Any, Tensor, bool]]:
    """This rank's pieces of a batch, which rows they have, and whether they count. Where ranks hold
    parts of the weights all compute equally often: one with fewer pieces computes the first row
    again, for nothing.
    """
    most = max(ranks.gather(len(own))) if find_sharded(module) else len(own)
    yield from ((piece, rows, True) for piece, rows in own)
    first = batch[:1].trim(), torch.zeros(1, dtype=torch.long)
    yield from ((*first, False) for _ in range(most - len(own)))


def sum_over_ranks(
    parameters: Sequence[nn.Parameter], figures: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Gradients, in place, and figures summed over ranks, of which some may have had no rows at
    all.
    """
    if ranks.world() == 1:
        return figures
    own = {name: float(value) for name, value in figures.items()}
    each = ranks.gather((own, [p.grad is not None for p in parameters]))
    for parameter, *taught in zip(parameters, *(marks for _, marks in each), strict=True):
        # A rank without a part of the loss still takes part in the sum.
        if any(taught) and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    # Those of parts have been added up as they were made.
    whole = [p for p in parameters if p.grad is not None and not is_part(p)]
    ranks.add_up(p.grad for p in whole if p.grad is not None)
    summed: dict[str, float] = {}
    for said, _ in each:
        for name, value in said.items():
            summed[name] = summed.get(name, 0.0) + value
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in summed.items()}


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Of all their numbers, wherever they are.  -> []"""
    if any(map(is_part, tensors)):
        return square_sum(tensors).sqrt()
    return nn.utils.get_total_norm(tensors)


def cut_weights(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """This rank's part of weights that were saved whole, by their names."""
    now = trained_state(module)
    return {n: cut_like(x, now[n]) if n in now else x for n, x in state.items()}


def cut_moments(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A state of this optimizer's, saved whole, with this rank's part of what is as large as a
    divided weight.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(map(is_part, parameters)):
        return state
    moments = {
        number: {
            name: cut_like(x, parameters[number]) if x.shape == parameters[number].shape else x
            for name, x in each.items()
        }
        for number, each in state["state"].items()
    }
    return {**state, "state": moments}
