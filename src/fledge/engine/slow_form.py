"""The form in which the token engine runs any causal network: every step is the network's own
forward pass over the whole row, so that what it says is what the trainer computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fledge.log_prob import unembed


class TokenCache:
    """What a KV cache is to a fast form: the tokens of each slot, which are read anew each time."""

    def __init__(self, slots: int, positions: int, device: torch.device) -> None:
        self.slots, self.positions = slots, positions
        self.store = torch.zeros(slots, positions, dtype=torch.long, device=device)

    def move(self, source: int, target: int, length: int) -> None:
        """Slot `target` becomes a copy of the first `length` positions of slot `source`."""
        self.store[target, :length] = self.store[source, :length]

    def reorder(self, sources: Tensor, begin: int, end: int) -> None:
        """Slot i becomes, from `begin` to `end` at least, a copy of slot sources[i] as it was.
        [B]
        """
        self.store[: len(sources), begin:end] = self.store[sources, begin:end]


class SlowForm:
    """`network` by nothing but `network(tokens)` and `network.unembedding`, in its own precision: a
    new architecture is written once and can be sampled at once.

    A row of T tokens costs T forward passes over all of it. The network must be causal: what stands
    behind a row's end is not its own.
    """

    incremental = False  # whether a pass costs what is new in a row, and not all of the row
    packs = False  # whether rows of unlike length are prefilled together without padding

    def __init__(self, network: Any) -> None:
        self.network = network
        self.device: torch.device = network.unembedding.device

    def make_cache(self, slots: int, positions: int) -> TokenCache:
        return TokenCache(slots, positions, self.device)

    def count_cache_bytes(self, slots: int, positions: int) -> int:
        """What `make_cache` will take."""
        return slots * positions * torch.long.itemsize

    def step(
        self, tokens: Tensor, lengths: Tensor, held: Sequence[int], cache: TokenCache
    ) -> Tensor:
        """Decode: one token for each of the first B slots, at `lengths`.  [B], [B] -> [B, D]

        held: `lengths`, in the host's memory.
        """
        slots = torch.arange(len(tokens), device=tokens.device)
        cache.store[slots, lengths] = tokens
        return self._read(cache.store[: len(tokens), : max(held) + 1])[slots, lengths]

    def extend(
        self, tokens: Tensor, starts: Tensor, slots: Tensor, ends: Sequence[int], cache: TokenCache
    ) -> Tensor:
        """Prefill: several tokens for each of some slots, at positions from `starts` to `ends`, in
        the host's memory. Rows shorter than T are padded on the right.

        [B, T], [B], [B] -> [B, T, D]; of padding it is that of some other token
        """
        positions = starts[:, None] + torch.arange(tokens.shape[1], device=tokens.device)  # [B, T]
        there = positions < cache.positions
        cache.store[slots[:, None].expand_as(tokens)[there], positions[there]] = tokens[there]
        hidden = self._read(cache.store[slots, : max(ends)])
        kept = positions.clamp(max=hidden.shape[1] - 1)
        return hidden[torch.arange(len(hidden), device=hidden.device)[:, None], kept]

    def _read(self, rows: Tensor) -> Tensor:
        """[B, T] -> [B, T, D]"""
        # Not in inference mode, which the engine is in: a table that the network keeps for longer
        # rows would be an inference tensor, and the next training step could not use it.
        with torch.inference_mode(False), torch.no_grad():
            # A guess may reach beyond the context, where nothing is ever said.
            return self.network(rows[:, : self.network.config.context].clone())

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, V], in float32 or better"""
        return unembed(self.network, hidden)
