"""The prefix cache: which part of a prompt need not be prefilled, since a slot holds its keys and
values already: that of a live row, of a finished one kept for this, or of a neighbour prefilled
just before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# tokens: shorter common prefixes are prefilled again, which costs less than a look-up and a copy
MIN_PREFIX = 16


class PrefixCache:
    """Which tokens each slot holds, looked up by their first MIN_PREFIX ones.

    Slots from `slots` on hold `rows` finished rows; the one used least recently is evicted first.
    """

    def __init__(self, slots: int, rows: int) -> None:
        self.tokens: dict[int, list[int]] = {}  # of each slot that holds enough of them
        self.by_prefix: dict[tuple[int, ...], set[int]] = {}  # slots by their first tokens
        self.least_recent = list(range(slots, slots + rows))  # the one evicted next comes first

    def store(self, slot: int, tokens: list[int]) -> None:
        """From now on prefixes can be copied from this slot, which holds these tokens."""
        self.forget(slot)
        if len(tokens) >= MIN_PREFIX:
            self.tokens[slot] = tokens
            self.by_prefix.setdefault(tuple(tokens[:MIN_PREFIX]), set()).add(slot)

    def forget(self, slot: int) -> None:
        """What this slot holds is about to be overwritten."""
        tokens = self.tokens.pop(slot, None)
        if tokens is not None:
            slots = self.by_prefix[tuple(tokens[:MIN_PREFIX])]
            slots.discard(slot)
            if not slots:
                del self.by_prefix[tuple(tokens[:MIN_PREFIX])]

    def await_prefix(self, slot: int, prompt: list[int]) -> bool:
        """The slot is about to be prefilled with this prompt. True if another begins like it and
        ought to be waited for.
        """
        known = tuple(prompt[:MIN_PREFIX]) in self.by_prefix
        if not known:
            self.store(slot, prompt)
        return known

    def copy_prefix(self, slot: int, prompt: list[int], cache: Any) -> int:
        """Copy what another slot holds of this prompt's beginning into `slot`; how many tokens that
        are. The last is always prefilled: its hidden state says the first new token.

        The slot is not yet one to copy from: `store` says when it is.
        """
        n, source = self._look_up(slot, prompt)
        if n == 0:
            return 0
        cache.move(source, slot, n)
        if source in self.least_recent:
            self.least_recent.remove(source)
            self.least_recent.append(source)
        return n

    def count_held(self, prompt: list[int], slot: int | None = None) -> int:
        """How many tokens of this prompt need not be prefilled, as far as `slot` knows, or any."""
        if slot is not None:
            return min(count_common(prompt, self.tokens.get(slot, [])), len(prompt) - 1)
        return self._look_up(-1, prompt)[0]

    def _look_up(self, slot: int, prompt: list[int]) -> tuple[int, int]:
        """The longest prefix of the prompt that another slot holds, without its last token, and
        which slot that is; 0 for one that is not worth a copy.
        """
        longest, source = 0, -1
        for other in self.by_prefix.get(tuple(prompt[:MIN_PREFIX]), ()):
            if other != slot:
                n = count_common(prompt, self.tokens[other])
                if n > longest:
                    longest, source = n, other
        longest = min(longest, len(prompt) - 1)
        return (longest, source) if longest >= MIN_PREFIX else (0, -1)

    def store_finished(self, slot: int, tokens: list[int], cache: Any) -> None:
        """The row in this slot has ended: keep what it held, if there is room for any."""
        self.forget(slot)
        if self.least_recent and len(tokens) >= MIN_PREFIX:
            kept = self.least_recent.pop(0)
            self.least_recent.append(kept)
            cache.move(slot, kept, len(tokens))
            self.store(kept, tokens)

    def move(self, source: int, target: int) -> None:
        tokens = self.tokens.get(source)
        self.forget(source)
        if tokens is not None:
            self.store(target, tokens)

    def reorder(self, order: Sequence[int]) -> None:
        reordered = {slot: self.tokens.get(old) for slot, old in enumerate(order)}
        for slot in reordered:
            self.forget(slot)
        for slot, tokens in reordered.items():
            if tokens is not None:
                self.store(slot, tokens)

    def clear(self) -> None:
        self.tokens.clear()
        self.by_prefix.clear()


def count_common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens they have in common from the beginning."""
    least, most = 0, min(len(a), len(b))
    while least < most:  # halved: slices are compared a hundred times as fast as numbers in a loop
        middle = (least + most + 1) // 2
        if a[least:middle] == b[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
