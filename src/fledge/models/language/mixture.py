"""A layer of experts: a router sends each token to the few feed-forward networks it scores highest,
and their answers are weighed.

Shazeer et al. 2017, eq. 1–5; as in Mixtral (Jiang et al. 2024, §2.1) every expert is a SwiGLU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Experts:
    """used: of `number`, by each token. normalised: the weights of those used add up to 1. dense:
    layers that have a plain feed-forward network.

    corrected: scores are sigmoids, and experts are chosen by score + bias and weighed by score; the
    bias is no weight that learns (DeepSeek-AI 2024, eq. 12–16).
    """

    number: int
    used: int
    width: int
    normalised: bool = True
    dense: tuple[int, ...] = ()
    corrected: bool = False


class Routing(NamedTuple):
    """What a router said of N tokens.  logits [N, E], float32 or wider; expert [N, used] long:
    those chosen; kept [N, used] bool: those that answer.
    """

    logits: Tensor
    expert: Tensor
    kept: Tensor


class MixtureOfExperts(nn.Module):
    """room: how often an expert answers in one row at the most; 0: as often as it is chosen. watch:
    is told what the router says.
    """

    room = 0
    watch: Callable[[Routing], None] | None = None

    def __init__(self, width: int, experts: Experts, activate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.experts, self.activate = experts, activate
        n, inner = experts.number, experts.width
        self.router = nn.Linear(width, n, bias=False)
        if experts.corrected:
            self.bias = nn.Buffer(torch.zeros(n))
        self.gate_up = nn.Parameter(torch.empty(n, 2 * inner, width))
        self.down = nn.Parameter(torch.empty(n, width, inner))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]; where there is a limit, [B, T, D]"""
        flat = x.reshape(-1, x.shape[-1])
        # In float32 whatever the products' precision: which experts are used hangs on small
        # differences.
        logits = self.router(flat)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        score = compute_scores(logits, self.experts)
        ranked = score + self.bias if self.experts.corrected else score
        expert = ranked.topk(self.experts.used, dim=-1).indices  # [N, used]
        weight = score.gather(-1, expert)
        if self.experts.normalised:
            weight = weight / weight.sum(-1, keepdim=True)
        kept = torch.ones_like(expert, dtype=torch.bool)
        if self.room:
            by_row = expert.view(*x.shape[:-1], -1)  # [B, T, used]
            kept = keep_within(by_row, self.experts.number, self.room).view_as(expert)
        if self.watch is not None:
            self.watch(Routing(logits, expert, kept))
        answers = self._answer(flat, expert.where(kept, self.experts.number))
        return (answers * weight[..., None]).sum(1).to(x.dtype).view(x.shape)

    def _answer(self, flat: Tensor, expert: Tensor) -> Tensor:
        """What each chosen expert says of each token, 0 where there is none (its number is E).
        [N, D], [N, used] -> [N, used, D]

        The tokens are sorted by expert, so that each reads all of its own in one product; and by
        permutations, whose gradients are permutations too and have the same bits every time.
        """
        n, chosen = self.experts.number, expert.flatten()
        order = chosen.argsort(stable=True)
        sizes = chosen.bincount(minlength=n + 1).tolist()
        each = flat[:, None].expand(-1, self.experts.used, -1).reshape(-1, flat.shape[-1])
        *rows, left = each.index_select(0, order).split(sizes)
        # unbind: one tensor of gradients for all experts, where `[e]` made one for each.
        own = zip(rows, self.gate_up.unbind(), self.down.unbind(), strict=True)
        answers = [self._ask(*one) for one in own if len(one[0])]
        sorted_answers = torch.cat([*answers, torch.zeros_like(left)])
        return sorted_answers.index_select(0, order.argsort()).view(*expert.shape, -1)

    def _ask(self, x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        """One expert.  [n, D], [2I, D], [D, I] -> [n, D]"""
        gate, up = (x @ gate_up.T).chunk(2, dim=-1)
        return (self.activate(gate) * up) @ down.T


def compute_scores(logits: Tensor, experts: Experts) -> Tensor:
    """[N, E] -> the same, above 0"""
    return logits.sigmoid() if experts.corrected else logits.softmax(-1)


def count_room(capacity: float, steps: int, experts: Experts) -> int:
    """How often an expert answers in a row of so many steps: ⌈capacity · steps · used / number⌉, a
    multiple of what each would if all were chosen equally often (Fedus et al. 2022, eq. 3).
    """
    return math.ceil(capacity * steps * experts.used / experts.number)


def keep_within(expert: Tensor, number: int, room: int) -> Tensor:
    """Which choices are among the first `room` of their expert in their row, token after token.

    In Switch and GShard the room is a batch's, and first choices come before second ones: then what
    is dropped hangs on the micro-batch, and on tokens that come later, which tells a token of its
    future.  [B, T, used] in 0 … number − 1 -> bool, the same
    """
    choices = expert.flatten(1)  # [B, T · used]
    times = F.one_hot(choices, number).cumsum(1)
    return (times.gather(2, choices[..., None])[..., 0] <= room).view_as(expert)


def list_mixtures(network: nn.Module) -> list[MixtureOfExperts]:
    """Those of a network, in the order of its layers."""
    return [part for part in network.modules() if isinstance(part, MixtureOfExperts)]


@contextmanager
def watch_routing(network: nn.Module) -> Iterator[list[Routing]]:
    """What the router of each layer with experts says of all that is read in the block, in the
    order of layers: one pass.
    """
    with ExitStack() as ends:
        said: list[Routing] = []
        for mixture in list_mixtures(network):
            mixture.watch = said.append
            ends.callback(setattr, mixture, "watch", None)
        yield said


@contextmanager
def limit_experts(network: nn.Module, room: int) -> Iterator[None]:
    """Until the block ends an expert answers so often in a row, backward passes that compute again
    included; 0: as often as it is chosen.
    """
    with ExitStack() as ends:
        for mixture in list_mixtures(network):
            mixture.room = room
            ends.callback(setattr, mixture, "room", 0)
        yield
