"""The form in which the token engine runs an encoder–decoder: the input is encoded once a request,
its cross-attention keys and values are kept with the row, and the decoder has a KV cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fledge.engine.slow_form import TokenCache
from fledge.log_prob import unembed
from fledge.models.language.encoder_decoder import EncoderDecoder
from fledge.models.language.encoder_decoder_parts import KeysValues


class Encoded(NamedTuple):
    """An input as the decoder looks at it. start: where in its row the decoder begins. layers: keys
    and values of each, [1, heads, S, d] twice.
    """

    start: int
    length: int
    layers: list[KeysValues]


class PairCache(TokenCache):
    """Of each slot its tokens, its encoded input, which rows of one request share, and keys and
    values of the first `read` tokens of its target.
    """

    def __init__(self, network: EncoderDecoder, slots: int, positions: int) -> None:
        like, c = network.unembedding, network.config
        super().__init__(slots, positions, like.device)
        self.inputs: list[Encoded | None] = [None] * slots
        self.read = [0] * slots
        self.kv = like.new_zeros(
            c.decoder_layers, 2, slots, c.decoder_heads, positions, c.decoder_head_width
        )
        self._stacked: tuple[list[Encoded], list[KeysValues], Tensor] | None = None

    def forget(self, slot: int) -> None:
        """What is known of the slot's row but its tokens."""
        self.inputs[slot], self.read[slot] = None, 0
        self.kv[:, :, slot] = 0  # a row that was no number would be heard through any mask

    def move(self, source: int, target: int, length: int) -> None:
        super().move(source, target, length)
        encoded = self.inputs[source]
        if encoded is None or length <= encoded.start:
            self.forget(target)
            return
        read = min(self.read[source], length - encoded.start)
        self.kv[:, :, target, :, :read] = self.kv[:, :, source, :, :read]
        self.inputs[target], self.read[target] = encoded, read

    def reorder(self, sources: Tensor, begin: int, end: int) -> None:
        super().reorder(sources, 0, self.positions)
        listed = sources.tolist()
        most = max((self.read[i] for i in listed), default=0)
        self.kv[:, :, : len(listed), :, :most] = self.kv[:, :, sources, :, :most]
        self.inputs[: len(listed)] = [self.inputs[i] for i in listed]
        self.read[: len(listed)] = [self.read[i] for i in listed]

    def stack(self, slots: Sequence[int]) -> tuple[list[KeysValues], Tensor]:
        """Keys and values of the inputs of some slots side by side, of each layer, and how long
        they are: as they were where the same are asked for again, as from step to step.
        """
        wanted = [self.inputs[slot] for slot in slots]
        encoded = [each for each in wanted if each is not None]
        assert len(encoded) == len(wanted)
        known = self._stacked
        if known is None or [id(e) for e in known[0]] != [id(e) for e in encoded]:
            lengths = torch.tensor([e.length for e in encoded], device=self.store.device)
            self._stacked = known = (encoded, _stack_layers(encoded), lengths)
        return known[1], known[2]


def _stack_layers(encoded: Sequence[Encoded]) -> list[KeysValues]:
    """[B, heads, S, d] twice of each layer, padded with zeros; of one input alone without a
    copy.
    """
    first = encoded[0]
    if all(each is first for each in encoded):
        return [
            (k.expand(len(encoded), -1, -1, -1), v.expand(len(encoded), -1, -1, -1))
            for k, v in first.layers
        ]
    longest = max(each.length for each in encoded)
    layers: list[KeysValues] = []
    for of_layer in zip(*(each.layers for each in encoded), strict=True):
        k, v = (
            torch.cat([torch.nn.functional.pad(x, (0, 0, 0, longest - x.shape[2])) for x in side])
            for side in zip(*of_layer, strict=True)
        )
        layers.append((k, v))
    return layers


class EncoderDecoderForm:
    """Of a network as it is, in its own precision."""

    incremental = False  # an input is read whole
    packs = False

    def __init__(self, network: EncoderDecoder, precision: Any = "fp32") -> None:
        self.network = network
        self.device: torch.device = network.unembedding.device

    def make_cache(self, slots: int, positions: int) -> PairCache:
        return PairCache(self.network, slots, positions)

    def count_cache_bytes(self, slots: int, positions: int) -> int:
        """What `make_cache` takes, with the inputs that come."""
        size = self.network.unembedding.element_size()
        numbers = self.network.config.count_cache(positions)
        return slots * (size * numbers + positions * torch.long.itemsize)

    @torch.no_grad()
    def step(
        self, tokens: Tensor, lengths: Tensor, held: Sequence[int], cache: PairCache
    ) -> Tensor:
        """Decode: one token for each of the first B slots, at `lengths`.  [B], [B] -> [B, D]"""
        slots, begins = list(range(len(tokens))), list(held[: len(tokens)])
        cache.store[torch.arange(len(tokens), device=self.device), lengths] = tokens
        return self._read(cache, slots, begins, [n + 1 for n in begins], 1)[:, 0]

    @torch.no_grad()
    def extend(
        self, tokens: Tensor, starts: Tensor, slots: Tensor, ends: Sequence[int], cache: PairCache
    ) -> Tensor:
        """Prefill: several tokens for each of some slots, at positions from `starts` to `ends`,
        padded on the right; zeros of an input's.  [B, T], [B], [B] -> [B, T, D]
        """
        positions = starts[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        there = positions < cache.positions
        cache.store[slots[:, None].expand_as(tokens)[there], positions[there]] = tokens[there]
        return self._read(cache, slots.tolist(), starts.tolist(), ends, tokens.shape[1])

    def _read(
        self,
        cache: PairCache,
        slots: list[int],
        starts: Sequence[int],
        ends: Sequence[int],
        size: int,
    ) -> Tensor:
        """Hidden states at positions from `starts` to `ends` of these slots, whose tokens are in
        the cache, with all that comes before and has not been read yet.  -> [B, size, D]
        """
        self._encode(cache, slots, starts, ends)
        begins = [self._rewind(cache, slot, n) for slot, n in zip(slots, starts, strict=True)]
        first, counts = [0] * len(slots), [0] * len(slots)
        for i, slot in enumerate(slots):
            if (encoded := cache.inputs[slot]) is not None:
                first[i], counts[i] = encoded.start, ends[i] - encoded.start - begins[i]
        matrix = self.network.unembedding
        said = matrix.new_zeros(len(slots), size, matrix.shape[1])
        some = [i for i, n in enumerate(counts) if n > 0]
        if not some:
            return said
        hidden = self._decode(
            cache, [slots[i] for i in some], [first[i] for i in some],
            [begins[i] for i in some], [counts[i] for i in some],
        )  # fmt: skip
        for row, i in enumerate(some):
            at = first[i] + begins[i] - starts[i]  # where its first hidden state would stand
            skipped = max(0, -at)
            new = hidden[row, skipped : counts[i]]
            said[i, at + skipped : at + skipped + len(new)] = new
        return said

    def _encode(
        self, cache: PairCache, slots: Sequence[int], starts: Sequence[int], ends: Sequence[int]
    ) -> None:
        """The inputs of slots that have new ones, which are whole once a start token is there; one
        that several rows have is encoded once.
        """
        new: dict[tuple[int, ...], list[int]] = {}
        for slot, begin, end in zip(slots, starts, ends, strict=True):
            known = cache.inputs[slot]
            if known is not None and begin > known.start:
                continue
            cache.forget(slot)
            row = cache.store[slot, :end].tolist()
            if self.network.config.start in row:
                at = row.index(self.network.config.start)
                new.setdefault(tuple(row[: at + 1]), []).append(slot)
        if not new:
            return
        longest = max(map(len, new))
        rows = [[*row, *[0] * (longest - len(row))] for row in new]
        last = torch.tensor([len(row) - 1 for row in new], device=self.device)
        inputs, lengths = self.network.cut_inputs(torch.tensor(rows, device=self.device), last)
        memory = self.network.encode(inputs, lengths)
        layers = [block.cross.project(memory) for block in self.network.decoder]
        sizes = lengths.tolist()
        for i, (row, members) in enumerate(new.items()):
            # Copies: a view would keep the others' as long as this one lives.
            own = [(k[i : i + 1, :, : sizes[i]].clone(), v[i : i + 1, :, : sizes[i]].clone())
                   for k, v in layers]  # fmt: skip
            encoded = Encoded(len(row) - 1, sizes[i], own)
            for slot in members:
                cache.inputs[slot] = encoded

    def _rewind(self, cache: PairCache, slot: int, begin: int) -> int:
        """How many tokens of a slot's target have been read and stay: those before `begin`."""
        encoded = cache.inputs[slot]
        if encoded is None:
            return 0
        cache.read[slot] = min(cache.read[slot], max(0, begin - encoded.start))
        return cache.read[slot]

    def _decode(
        self,
        cache: PairCache,
        slots: list[int],
        first: Sequence[int],
        begins: Sequence[int],
        counts: Sequence[int],
    ) -> Tensor:
        """Read on in the targets of these slots: `counts` tokens from place `begins` on. first:
        where in their rows the targets begin.  -> [b, n, D]
        """
        device, widest = self.device, max(counts)
        begin = torch.tensor(begins, device=device)[:, None]
        # Padding is read at a row's last new token again, and writes what stands there.
        steps = torch.arange(widest, device=device).minimum(
            torch.tensor(counts, device=device)[:, None] - 1
        )
        places = begin + steps
        index = torch.tensor(slots, device=device)
        tokens = cache.store[index[:, None], places + torch.tensor(first, device=device)[:, None]]
        reach = max(b + n for b, n in zip(begins, counts, strict=True))
        in_order = slots == list(range(len(slots)))
        which = slice(len(slots)) if in_order else index
        kv = cache.kv[:, :, which, :, :reach]
        given, lengths = cache.stack(slots)
        keys = torch.arange(reach, device=device)[None]
        own = [(k, v) for k, v in kv]
        hidden = self.network.decode_on(tokens, places, keys, own, given, lengths)
        if not in_order:
            cache.kv[:, :, index, :, :reach] = kv
        for slot, b, n in zip(slots, begins, counts, strict=True):
            cache.read[slot] = b + n
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, V], in float32 or better"""
        return unembed(self.network, hidden)
