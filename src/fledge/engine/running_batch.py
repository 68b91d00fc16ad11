"""The running batch: the rows under way, each in a slot of the KV cache, the live ones first.
Their prompts are prefilled, a token is decoded for all of them at a time, and slots are moved so
that the first ones stay the live ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fledge.engine.forms import make_form
from fledge.engine.generation import BLOCK, Generation
from fledge.engine.packed_weights import PackedWeights
from fledge.engine.prefill import choose_piece, prefill
from fledge.engine.prefix_cache import PrefixCache
from fledge.engine.row import Row
from fledge.engine.slots import Slots
from fledge.errors import UserError
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy

NEAR = 256  # rows that wait: among how many of the first a long prompt is looked for
SORT_EVERY = 32  # steps: how often the slots are put in order of length


class RunningBatch:
    """What is asked of it is asked in inference mode. Arguments: see `Engine`."""

    def __init__(
        self,
        policy: TokenPolicy,
        slots: int,
        positions: int,
        precision: Generation,
        prefix_cache_rows: int,
        cache_bytes: int | None,
        packed: PackedWeights | None,
    ) -> None:
        self.policy, self.positions = policy, positions
        self.precision: Generation = precision
        self.version = policy.version  # of the weights that `network` was made of
        self.network: Any = make_form(policy.network, precision, positions, packed)
        if cache_bytes is not None:
            slots = self._fit_slots(slots, prefix_cache_rows, cache_bytes)
        # The last slot is room to move rows by, and where a long prompt is read ahead.
        self.spare = slots + prefix_cache_rows
        # Stated before it is taken.
        self.cache_bytes: int = self.network.count_cache_bytes(self.spare + 1, positions)
        self.cache = self.network.make_cache(self.spare + 1, positions)
        self.slots = Slots(slots, positions, self.network.device)
        self.prefix_cache = PrefixCache(slots, prefix_cache_rows)
        self.live: list[Row] = []  # in the order of their slots
        self.rules: dict[Decoding, list[int]] = {}
        self.ahead: Row | None = None  # waits, while its prompt is read a piece at a time
        self.tokens_read = 0  # of prompts: those that no slot held yet
        self.unsorted = 0  # steps since the slots were put in order
        self.spoilt = False  # a weight has been no number, and so is what it left in the cache

    def _fit_slots(self, slots: int, prefix_cache_rows: int, cache_bytes: int) -> int:
        """The most slots, up to `slots`, that the KV cache may have. Raises UserError for none."""
        more = prefix_cache_rows + 1
        for n in range(slots, 0, -1):
            if self.network.count_cache_bytes(n + more, self.positions) <= cache_bytes:
                return n
        least = self.network.count_cache_bytes(1 + more, self.positions)
        raise UserError(
            f"cache_bytes={cache_bytes} was given and one row of {self.positions} tokens takes "
            f"{least}, with one to move rows by and prefix_cache_rows={prefix_cache_rows}: give "
            "more, or fewer positions."
        )

    @property
    def free(self) -> int:
        """How many slots have no row."""
        return len(self.slots) - len(self.live)

    def admit(self, rows: Sequence[Row]) -> Tensor:
        """Rows that have said nothing, none of them `is_long`: prefill them into the free slots,
        each from where the prefix cache ends.  -> hidden states of their last tokens [B, D]
        """
        first = len(self.live)
        self.live += rows
        self.slots.open(first, rows)
        self.rules = group_by_rule(self.live)
        hidden = self._prefill(first)
        if self.ahead in rows:
            self.ahead = None
        return hidden

    def _prefill(self, first: int) -> Tensor:
        """The prompts of the rows from slot `first` on, into the KV cache.  -> hidden states of
        their last tokens [B, D]
        """
        rows = self.live[first:]
        last: list[Tensor] = [torch.empty(0)] * len(rows)
        alike: dict[tuple[int, ...], int] = {}
        # Rows to prefill first, and those that begin as one of these does.
        waves: list[list[int]] = [[], []]
        copies: list[tuple[int, int]] = []
        for i, row in enumerate(rows):
            key = tuple(row.prompt)
            if key in alike:
                copies.append((alike[key], i))
                continue
            alike[key] = i
            waves[self.prefix_cache.await_prefix(first + i, row.prompt)].append(i)
        for wave in waves:
            starts = [
                self.prefix_cache.copy_prefix(first + i, rows[i].prompt, self.cache) for i in wave
            ]
            prompts, slots = [rows[i].prompt for i in wave], [first + i for i in wave]
            self.tokens_read += sum(map(len, prompts)) - sum(starts)
            for some, hidden in prefill(self.network, self.cache, prompts, starts, slots):
                for k, end in zip(some, hidden[:, 0], strict=True):
                    last[wave[k]] = end
                    self.prefix_cache.store(slots[k], prompts[k])
        for source, i in copies:
            self.cache.move(first + source, first + i, len(rows[i].prompt))
            self.prefix_cache.store(first + i, rows[i].prompt)
            last[i] = last[source]
        return torch.stack(last)

    def is_long(self, row: Row) -> bool:
        """Whether more of its prompt has to be prefilled than is done in one pass."""
        piece = choose_piece(self.network, len(row.prompt))
        if len(row.prompt) <= piece:
            return False
        return len(row.prompt) - self.prefix_cache.count_held(row.prompt) > piece

    def read_ahead(self, waiting: Sequence[Row]) -> None:
        """Prefill a piece of the first long prompt that waits, so that others are decoded between
        two pieces. It goes into the spare slot, from where the row takes it as any prefix, and so
        do its fellow samples.
        """
        if self.ahead is not None and self.ahead.cancelled:
            self.ahead = None
        # The spare slot is needed for putting the others in order: that comes between two prompts.
        if self.ahead is None and not (self.live and self.unsorted >= SORT_EVERY):
            near = itertools.islice(waiting, NEAR)
            self.ahead = next((row for row in near if self.is_long(row)), None)
        if self.ahead is None or not self.is_long(self.ahead):
            return
        prompt, spare, prefixes = self.ahead.prompt, self.spare, self.prefix_cache
        start = prefixes.count_held(prompt, spare)
        if prefixes.count_held(prompt) > start:
            start = prefixes.copy_prefix(spare, prompt, self.cache)
        end = min(start + choose_piece(self.network, len(prompt)), len(prompt))
        self.tokens_read += end - start
        for _ in prefill(self.network, self.cache, [prompt[:end]], [start], [spare]):
            prefixes.store(spare, prompt[:end])

    def decode(self) -> Tensor:
        """One step of every live row: its current token is read.  -> hidden states [B, D]"""
        b, slots = len(self.live), self.slots
        self.unsorted += 1
        if self.unsorted >= SORT_EVERY and self.ahead is None:
            self._sort_slots()
        hidden = self.network.step(slots.current[:b], slots.length[:b], slots.held[:b], self.cache)
        slots.grow(b)
        return hidden

    def remove(self, slots: Sequence[int], held: Sequence[list[int]]) -> None:
        """The rows in these slots have ended, and the cache holds these tokens of theirs; the last
        live slots move into their places.
        """
        for slot, tokens in zip(slots, held, strict=True):
            self.prefix_cache.store_finished(slot, tokens, self.cache)
        left = len(self.live) - len(slots)
        gone = set(slots)
        sources = [slot for slot in range(left, len(self.live)) if slot not in gone]
        targets = [slot for slot in slots if slot < left]
        for source, target in zip(sources, targets, strict=True):
            self.cache.move(source, target, self.slots.held[source])
            self.live[target] = self.live[source]
            self.prefix_cache.move(source, target)
        if sources:
            self.slots.move(sources, targets)
        del self.live[left:]
        self.rules = group_by_rule(self.live)

    def _sort_slots(self) -> None:
        """The slots in order of length, longest first: attention then reads little more than what
        is there.
        """
        self.unsorted = 0
        order = sorted(range(len(self.live)), key=lambda slot: -(self.slots.held[slot] // BLOCK))
        spare, moved = self.spare, set[int]()
        self.prefix_cache.forget(spare)
        for begin in range(len(order)):
            if begin in moved or order[begin] == begin:
                continue
            self.cache.move(begin, spare, self.slots.held[begin])
            slot = begin
            while order[slot] != begin:
                self.cache.move(order[slot], slot, self.slots.held[order[slot]])
                moved.add(slot)
                slot = order[slot]
            self.cache.move(spare, slot, self.slots.held[begin])
            moved.add(slot)
        if moved:
            self.slots.reorder(order)
            self.live = [self.live[slot] for slot in order]
            self.prefix_cache.reorder(order)
            self.rules = group_by_rule(self.live)

    def follow_weights(self) -> None:
        """The weights as they are now. Rows under way are prefilled anew: no key in the KV cache is
        older than the weights.
        """
        if self.policy.version == self.version:
            return
        self.version = self.policy.version
        self.network = None  # else two layouts of the weights would be in memory
        # What others have packed may be older.
        self.network = make_form(self.policy.network, self.precision, self.positions)
        self.prefix_cache.clear()
        if self.spoilt:  # what lies beyond a row's end is masked, and NaN is heard all the same
            self.cache.store.zero_()
            self.spoilt = False
        said = self.slots.read_said(range(len(self.live)))
        rows = [  # without the last token, which is read next
            row.prompt + tokens[:-1] for row, (tokens, _, _) in zip(self.live, said, strict=True)
        ]
        for _ in prefill(self.network, self.cache, rows, [0] * len(rows), range(len(rows))):
            pass  # their next token follows from one that is not read yet
        for slot, row in enumerate(rows):
            self.prefix_cache.store(slot, row)


def group_by_rule(rows: Sequence[Row]) -> dict[Decoding, list[int]]:
    """Which rows go by which rule."""
    same: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        same.setdefault(id(row.request.rule), []).append(i)
    merged: dict[Decoding, list[int]] = {}
    for members in same.values():  # rules that are equal and not the same object are few
        merged.setdefault(rows[members[0]].request.rule, []).extend(members)
    return merged
