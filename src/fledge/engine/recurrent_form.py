"""The form in which the token engine runs a recurrent network: a state of fixed size for each slot
in place of keys and values, and one step a token however long the row is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fledge.engine.recurrent_step import CellStep, lay_out
from fledge.engine.slow_form import TokenCache
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.recurrent_cells import KernelCell


class StateCache(TokenCache):
    """The state of each slot, after how many tokens it is that, and the tokens themselves: a few
    bytes, from which a state is made that nobody kept (the beginning of a prompt that another row
    shares, a guess that was not taken).
    """

    def __init__(self, network: Recurrent, slots: int, positions: int) -> None:
        super().__init__(slots, positions, network.unembedding.device)
        self.network = network
        self.states = network.empty(slots)
        self.read = [0] * slots

    def move(self, source: int, target: int, length: int) -> None:
        self.reach([source], [length])
        super().move(source, target, length)
        if self.read[source] == length:
            self.states[target] = self.states[source]
        self.read[target] = length if self.read[source] == length else 0

    def reorder(self, sources: Tensor, begin: int, end: int) -> None:
        super().reorder(sources, 0, self.positions)
        self.states[: len(sources)] = self.states[sources]
        self.read[: len(sources)] = [self.read[i] for i in sources.tolist()]

    def reach(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Read on in these slots, whose state is that of fewer tokens. One of more is left."""
        late = [(s, n) for s, n in zip(slots, lengths, strict=True) if self.read[s] < n]
        if late:
            self._advance(late)

    def rewind(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """The state of each of these slots is that after so many tokens, whatever it was."""
        for slot, length in zip(slots, lengths, strict=True):
            if self.read[slot] > length:
                self.read[slot] = 0
        self.reach(slots, lengths)

    def _advance(self, late: Sequence[tuple[int, int]]) -> None:
        begins = [self.read[slot] for slot, _ in late]
        counts = [n - begin for (_, n), begin in zip(late, begins, strict=True)]
        rows = torch.zeros(len(late), max(counts), dtype=torch.long, device=self.store.device)
        for i, ((slot, n), begin) in enumerate(zip(late, begins, strict=True)):
            rows[i, : counts[i]] = self.store[slot, begin:n]
        places = torch.tensor([slot for slot, _ in late], device=self.store.device)
        states = self.states[places]
        states[torch.tensor(begins, device=states.device) == 0] = 0
        self.states[places] = self.network.advance(rows, torch.tensor(counts), states)
        for slot, n in late:
            self.read[slot] = n


class RecurrentForm:
    """Of a network as it is now, in its own precision; made anew when its weights change."""

    incremental = True
    packs = False

    @torch.no_grad()
    def __init__(self, network: Recurrent, precision: Any = "fp32") -> None:
        self.network = network
        self.device: torch.device = network.unembedding.device
        kernels = [cell for cell in network.cells if isinstance(cell, KernelCell)]
        self.cells = [CellStep(cell) for cell in kernels]  # none of a mingru
        self.last = lay_out(network.unembedding.detach())

    def make_cache(self, slots: int, positions: int) -> StateCache:
        return StateCache(self.network, slots, positions)

    def count_cache_bytes(self, slots: int, positions: int) -> int:
        """What `make_cache` will take."""
        c = self.network.config
        state = c.layers * c.state_width * self.network.unembedding.element_size()
        return slots * (state + positions * torch.long.itemsize)

    @torch.no_grad()
    def step(
        self, tokens: Tensor, lengths: Tensor, held: Sequence[int], cache: StateCache
    ) -> Tensor:
        """Decode: one token for each of the first B slots, at `lengths`.  [B], [B] -> [B, D]"""
        b = len(tokens)
        cache.rewind(range(b), held[:b])
        cache.store[torch.arange(b, device=self.device), lengths] = tokens
        said, cache.states[:b] = self._advance_by_one(tokens, cache.states[:b])
        cache.read[:b] = [n + 1 for n in held[:b]]
        return said

    def _advance_by_one(self, tokens: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """[B], [B, L, S] -> [B, D], [B, L, S]"""
        if not self.cells:
            said, after = self.network.run(tokens[:, None], states)
            return said[:, 0], after
        x, ends = self.network.embedding(tokens), []
        for cell, state in zip(self.cells, states.unbind(1), strict=True):
            x, end = cell(x, state)
            ends.append(end)
        return x, torch.stack(ends, 1)

    @torch.no_grad()
    def extend(
        self, tokens: Tensor, starts: Tensor, slots: Tensor, ends: Sequence[int], cache: StateCache
    ) -> Tensor:
        """Prefill: several tokens for each of some slots, at positions from `starts` to `ends`,
        padded on the right.  [B, T], [B], [B] -> [B, T, D]

        A row's state moves on when it is asked for (`reach`).
        """
        places, begins = slots.tolist(), starts.tolist()
        cache.rewind(places, begins)
        positions = starts[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        there = positions < cache.positions
        cache.store[slots[:, None].expand_as(tokens)[there], positions[there]] = tokens[there]
        states = cache.states[slots]
        states[starts == 0] = 0
        return self.network.run(tokens, states)[0]

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, V]"""
        return self.last(hidden)
