"""Rows that begin with the same prompt, as the answers to it do, with the prompt in them once: what
a causal network makes of it hangs on nothing that follows.

The same function, and the same gradient, of fewer tokens: of 8 answers of 64 tokens to a prompt of
45, 557 in place of 872.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Queries, keys, values, mask -> what was read, all [B, heads, T, d].
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
# Of the tokens, those that at least have to be saved: more products, of fewer rows each, and a copy
# of the prompt's keys for every answer stand against it.
LEAST_SAVED = 0.15


@dataclass(frozen=True)
class SharedPrompts:
    """Where the tokens of B rows stand when they are laid out as G prompts of P places, and then
    B answers of S places, all one after another: N = G·P + B·S.

    A row of T tokens begins with `length` tokens of prompt `group`, and its own follow.
    """

    group: Tensor  # [B] which prompt
    length: Tensor  # [B] tokens of it
    prompts: tuple[int, int]  # G, P
    answers: tuple[int, int]  # B, S
    tokens: Tensor  # [1, N]; where there are none, any
    positions: Tensor  # [1, N] in its row
    sees: Tensor  # [B, 1, S, P + S] bool: what an answer's tokens may look at

    @property
    def split(self) -> int:
        """Where the answers begin."""
        return self.prompts[0] * self.prompts[1]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """Every prompt reads itself, every answer its prompt and itself.  q [1, heads, N, d], k and
        v [1, kv_heads, N, d] -> as q
        """
        first = (_rows(x[:, :, : self.split], self.prompts) for x in (q, k, v))
        own = [_rows(x[:, :, self.split :], self.answers) for x in (q, k, v)]
        q_first, k_first, v_first = first
        before = (x[self.group] for x in (k_first, v_first))  # [B, kv_heads, P, d]
        keys, values = (torch.cat(two, dim=2) for two in zip(before, own[1:], strict=True))
        read = (
            attend(q_first, k_first, v_first, None),
            attend(own[0], keys, values, self.sees),
        )
        # In memory [N, heads, d], as the projection that follows reads it.
        return torch.cat([x.transpose(1, 2).flatten(0, 1) for x in read]).transpose(0, 1)[None]

    def lay_back(self, h: Tensor, steps: int) -> Tensor:
        """Of the tokens as they are laid out -> of every row's, anything behind its last.  [1, N,
        D] -> [B, steps, D]
        """
        (_, places), (rows, own) = self.prompts, self.answers
        place = torch.arange(steps, device=h.device).expand(rows, -1)
        inside = self.group[:, None] * places + place
        row = torch.arange(rows, device=h.device)[:, None]
        behind = self.split + row * own + (place - self.length[:, None]).clamp(max=own - 1)
        return h[0, torch.where(place < self.length[:, None], inside, behind)]


def _rows(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """[1, heads, n·t, d] -> [n, heads, t, d]"""
    return x[0].unflatten(1, shape).transpose(0, 1)


def find_shared(tokens: Tensor, chosen: Tensor) -> SharedPrompts | None:
    """What comes before each row's first chosen step, where rows have it in common and enough is
    saved by having it once; else None.  [B, T], [B, T] bool
    """
    rows, steps = tokens.shape
    last = (chosen * torch.arange(1, steps + 1, device=chosen.device)).amax(1)  # [B] tokens read
    # The first chosen step reads the prompt's last token.
    length = torch.where(chosen.any(1), chosen.int().argmax(1) + 1, 1)
    own = max(1, int((last - length).max()))
    known: dict[tuple[int, ...], int] = {}
    row_tokens, row_length = tokens.tolist(), length.tolist()
    group = [
        known.setdefault(tuple(row[:n]), len(known))
        for row, n in zip(row_tokens, row_length, strict=True)
    ]
    longest = max(row_length)
    if len(known) * longest + rows * own > (1 - LEAST_SAVED) * rows * steps:
        return None
    first = tokens.new_zeros(len(known), longest)
    for i, prompt in enumerate(known):
        first[i, : len(prompt)] = torch.as_tensor(prompt)
    number = torch.arange(own, device=tokens.device)
    positions = (length[:, None] + number).clamp(max=steps - 1)  # [B, S]
    behind = tokens.gather(1, positions)
    place = torch.arange(longest, device=tokens.device)
    both = (
        (place < length[:, None])[:, None].expand(rows, own, longest),
        (number <= number[:, None]).expand(rows, own, own),
    )
    return SharedPrompts(
        group=torch.tensor(group, device=tokens.device),
        length=length,
        prompts=(len(known), longest),
        answers=(rows, own),
        tokens=torch.cat([first.flatten(), behind.flatten()])[None],
        positions=torch.cat([place.repeat(len(known)), positions.flatten()])[None],
        sees=torch.cat(both, dim=2)[:, None],
    )
