"""Rows laid end to end, without padding, and what several begin with once, as the answers to one
prompt do: what a causal network makes of it hangs on nothing that follows.

The same function, and the same gradient, of fewer tokens: of 8 answers of 64 tokens to a prompt of
45, 557 in place of 872.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

# Queries, keys, values, mask -> what was read, all [B, heads, T, d].
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
# Of the tokens, those that at least have to be saved: more products, of fewer rows each, and copies
# of keys, a prompt's for each of its answers, stand against it.
LEAST_SAVED = 0.15


@dataclass(frozen=True)
class SharedPrompts:
    """Where the tokens of B rows stand when they are laid out as G prompts, and then what follows
    in each row, one after another: N tokens. Only attention sees rows, of P places of a prompt and
    of S behind it; a place that has no token stands for the last one before it.

    A row of T tokens begins with `length` tokens of prompt `group`, and its own follow.
    """

    group: Tensor  # [B] which prompt
    length: Tensor  # [B] tokens of it
    prompts: Tensor  # [G, P] which of the N stands here
    answers: Tensor  # [B, S] the same; where a row has none, any
    back: Tensor  # [N] where each stands among the G·P + B·S places
    tokens: Tensor  # [1, N]
    positions: Tensor  # [1, N] in its row
    sees: Tensor  # [B, 1, S, P + S] bool: what an answer's tokens may look at
    before: tuple[Tensor, Tensor] | None = None  # keys and values, [1, kv_heads, M, d] each

    def behind(self, before: tuple[Tensor, Tensor]) -> SharedPrompts:
        """The same, of a layer with these keys and values before every row."""
        return replace(self, before=before)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """Every prompt reads itself, every answer its prompt and itself, and all of them what
        stands before all.  q [1, heads, N, d], k and v [1, kv_heads, N, d] -> as q
        """
        q_first, *first = (_rows(x, self.prompts) for x in (q, k, v))
        q_own, *own = (_rows(x, self.answers) for x in (q, k, v))
        causal, sees = None, self.sees
        if self.before is not None:
            many = [
                part.to(x.dtype).expand(len(x), -1, -1, -1)
                for part, x in zip(self.before, first, strict=True)
            ]
            first = [torch.cat(two, dim=2) for two in zip(many, first, strict=True)]
            places, number = self.prompts.shape[1], self.before[0].shape[2]
            causal = sees.new_ones(places, number + places).tril(number)[None, None]
            sees = torch.cat([sees.new_ones(1).expand(*sees.shape[:3], number), sees], dim=3)
        shared = (x[self.group] for x in first)  # [B, kv_heads, M + P, d]
        keys, values = (torch.cat(two, dim=2) for two in zip(shared, own, strict=True))
        read = (attend(q_first, first[0], first[1], causal), attend(q_own, keys, values, sees))
        # In memory [N, heads, d], as the projection that follows reads it.
        places = torch.cat([x.transpose(1, 2).flatten(0, 1) for x in read])
        return places.index_select(0, self.back).transpose(0, 1)[None]

    def lay_back(self, h: Tensor, steps: int) -> Tensor:
        """Of the tokens as they are laid out -> of every row's, anything behind its last.  [1, N,
        D] -> [B, steps, D]
        """
        place = torch.arange(steps, device=h.device).expand(len(self.group), -1)
        inside = place.clamp(max=self.prompts.shape[1] - 1)
        behind = (place - self.length[:, None]).clamp(0, self.answers.shape[1] - 1)
        first = self.prompts[self.group].gather(1, inside)
        own = self.answers.gather(1, behind)
        return h[0, torch.where(place < self.length[:, None], first, own)]


def _rows(x: Tensor, places: Tensor) -> Tensor:
    """[1, heads, N, d], [n, t] -> [n, heads, t, d]"""
    own = x[0].transpose(0, 1).index_select(0, places.flatten())
    return own.unflatten(0, places.shape).transpose(1, 2)


def find_shared(tokens: Tensor, chosen: Tensor) -> SharedPrompts | None:
    """Rows end to end, and what comes before the first chosen step of several once; None where too
    little is saved.  [B, T], [B, T] bool
    """
    rows, steps = tokens.shape
    device = tokens.device
    last = (chosen * torch.arange(1, steps + 1, device=device)).amax(1)  # [B] tokens read
    # The first chosen step reads the prompt's last token.
    length = torch.where(chosen.any(1), chosen.int().argmax(1) + 1, 1)
    behind = (last - length).clamp(min=0)  # [B] tokens of its own
    known: dict[tuple[int, ...], int] = {}
    owner: list[int] = []  # of each prompt, a row that begins with it
    group: list[int] = []
    for i, (row, n) in enumerate(zip(tokens.tolist(), length.tolist(), strict=True)):
        prompt = tuple(row[:n])
        if prompt not in known:
            known[prompt] = len(known)
            owner.append(i)
        group.append(known[prompt])
    kept = length[owner]  # [G]
    if int(kept.sum() + behind.sum()) > (1 - LEAST_SAVED) * rows * steps:
        return None
    prompts, has = _lay(kept, 0)
    answers, follows = _lay(behind, int(kept.sum()))
    place, number = (torch.arange(x.shape[1], device=device) for x in (prompts, answers))
    positions = length[:, None] + number  # [B, S]
    places = torch.cat([place.expand_as(has)[has], positions[follows]])
    row = torch.arange(rows, device=device)[:, None].expand_as(follows)[follows]
    of = torch.cat([torch.tensor(owner, device=device)[:, None].expand_as(has)[has], row])
    S, P = len(number), len(place)
    both = (
        (place < length[:, None])[:, None].expand(rows, S, P),
        (number <= number[:, None]).expand(rows, S, S),
    )
    return SharedPrompts(
        group=torch.tensor(group, device=device),
        length=length,
        prompts=prompts,
        answers=answers,
        back=torch.cat([has.flatten(), follows.flatten()]).nonzero()[:, 0],
        tokens=tokens[of, places][None],
        positions=places[None],
        sees=torch.cat(both, dim=2)[:, None],
    )


def _lay(sizes: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Sequences one after another from `start` on: which place each of their steps has, padded with
    their last one's, and where there is a step.  [n] -> [n, t], [n, t] bool
    """
    number = torch.arange(max(1, int(sizes.max())), device=sizes.device)
    begin = (start + sizes.cumsum(0) - sizes)[:, None]
    end = (begin + sizes[:, None] - 1).clamp(min=0)
    return (begin + number).minimum(end), number < sizes[:, None]
