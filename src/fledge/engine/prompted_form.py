"""The fast form of a transformer with virtual tokens (prefix or prompt tuning): their keys and
values stand at the beginning of every slot of the KV cache, and the engine, which counts the tokens
of its rows, hears nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fledge.engine.generation import Generation, GenerationTransformer
from fledge.engine.kv_cache import KVCache
from fledge.engine.packed_weights import PackedWeights
from fledge.models.language.transformer import Transformer


class PromptedCache:
    """A KV cache by the positions of real tokens: `inner` has `lead` more before them."""

    def __init__(self, inner: KVCache, lead: int) -> None:
        self.inner, self.lead = inner, lead
        self.slots, self.positions, self.store = inner.slots, inner.positions - lead, inner.store

    def move(self, source: int, target: int, length: int) -> None:
        """Slot `target` becomes a copy of the first `length` positions of slot `source`."""
        self.inner.move(source, target, self.lead + length)

    def reorder(self, sources: Tensor, begin: int, end: int) -> None:
        """Slot i becomes, from `begin` to `end` at least, a copy of slot sources[i] as it was.
        [B]
        """
        # From the start on a slot may receive that has held no row yet.
        self.inner.reorder(sources, self.lead + begin if begin else 0, self.lead + end)


class PromptedForm(GenerationTransformer):
    """`network` as it is now. A row that is read from its start is read behind virtual tokens."""

    @torch.no_grad()
    def __init__(
        self,
        network: Transformer,
        precision: Generation = "fp32",
        packed: PackedWeights | None = None,
    ) -> None:
        super().__init__(network, precision, packed)
        assert network.virtual is not None
        self.lead = network.lead
        # of the cache: its first positions are the virtual tokens'
        self.config = replace(network.config, context=self.lead + network.config.context)
        self.before: list[Tensor] = []  # of each layer, [1, N, 2 · kv_heads, d]
        for layer, (k, v) in zip(self.layers, network.virtual.read(network), strict=True):
            # In the order in which this form has the pairs of its queries and keys.
            both = torch.cat([k[..., layer.order], v], dim=1)
            self.before.append(both.to(self.real).transpose(1, 2))

    def make_cache(self, slots: int, positions: int) -> PromptedCache:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.network.reach_position(min(positions, self.network.config.context))
        self._build_turns()
        return PromptedCache(super().make_cache(slots, self.lead + positions), self.lead)

    def count_cache_bytes(self, slots: int, positions: int) -> int:
        """What `make_cache` will take."""
        return super().count_cache_bytes(slots, self.lead + positions)

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, tokens: Tensor, lengths: Tensor, held: Sequence[int], cache: PromptedCache
    ) -> Tensor:
        """Decode: one token for each of the first B slots, at `lengths`.  [B], [B] -> [B, D]"""
        lead = self.lead
        return super().step(tokens, lead + lengths, [lead + n for n in held], cache.inner)

    def extend(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        tokens: Tensor,
        starts: Tensor,
        slots: Tensor,
        ends: Sequence[int],
        cache: PromptedCache,
    ) -> Tensor:
        """Prefill: several tokens for each of some slots, at positions from `starts` to `ends`.

        [B, T], [B], [B] -> [B, T, D]
        """
        # Each time, and not once a cache: the virtual tokens learn between two rows.
        begun = slots[starts == 0]
        places = torch.arange(self.lead, device=tokens.device).expand(len(begun), -1)
        for layer, kv in enumerate(self.before):
            cache.inner.extend(layer, begun, places, kv.expand(len(begun), -1, -1, -1))
        ends = [self.lead + end for end in ends]
        return super().extend(tokens, self.lead + starts, slots, ends, cache.inner)
