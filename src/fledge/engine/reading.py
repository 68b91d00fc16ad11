"""Which part of a prompt need not be read: what a lane holds already, of a live row, a remembered
one, or a neighbour read just before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# tokens: shorter common beginnings are read again, which costs less than finding and copying them
OPENING = 16
AT_A_TIME = 8192  # tokens read in one pass, padding included


class Memory:
    """Which tokens each lane holds, found by their first OPENING ones. Lanes from `lanes` on are
    the remembered rows.
    """

    def __init__(self, lanes: int, remember: int) -> None:
        self.held: dict[int, list[int]] = {}
        self.openings: dict[tuple[int, ...], set[int]] = {}
        self.shelf = list(range(lanes, lanes + remember))  # the one forgotten next comes first

    def hold(self, lane: int, tokens: list[int]) -> None:
        self._drop(lane)
        if len(tokens) >= OPENING:
            self.held[lane] = tokens
            self.openings.setdefault(tuple(tokens[:OPENING]), set()).add(lane)

    def _drop(self, lane: int) -> None:
        tokens = self.held.pop(lane, None)
        if tokens is not None:
            lanes = self.openings[tuple(tokens[:OPENING])]
            lanes.discard(lane)
            if not lanes:
                del self.openings[tuple(tokens[:OPENING])]

    def announce(self, lane: int, prompt: list[int]) -> bool:
        """The lane is about to read this prompt. True if another begins like it and ought to be
        waited for.
        """
        known = tuple(prompt[:OPENING]) in self.openings
        if not known:
            self.hold(lane, prompt)
        return known

    def recall(self, lane: int, prompt: list[int], cache: Any) -> int:
        """Copy what another lane holds of this prompt's beginning into `lane`; how many tokens that
        are. The last is always read.

        The lane is not yet one to copy from: `hold` says when it is.
        """
        best, source = 0, -1
        for other in self.openings.get(tuple(prompt[:OPENING]), ()):
            if other != lane:
                n = common(prompt, self.held[other])
                if n > best:
                    best, source = n, other
        n = min(best, len(prompt) - 1)
        if n < OPENING:
            n = 0
        if n:
            cache.move(source, lane, n)
            if source in self.shelf:
                self.shelf.remove(source)
                self.shelf.append(source)
        return n

    def leave(self, lane: int, tokens: list[int], cache: Any) -> None:
        """The row in this lane has ended: remember it, if there is room for any."""
        self._drop(lane)
        if self.shelf and len(tokens) >= OPENING:
            place = self.shelf.pop(0)
            self.shelf.append(place)
            cache.move(lane, place, len(tokens))
            self.hold(place, tokens)

    def move(self, source: int, target: int) -> None:
        tokens = self.held.get(source)
        self._drop(source)
        if tokens is not None:
            self.hold(target, tokens)

    def reorder(self, order: Sequence[int]) -> None:
        held = {lane: self.held.get(old) for lane, old in enumerate(order)}
        for lane in held:
            self._drop(lane)
        for lane, tokens in held.items():
            if tokens is not None:
                self.hold(lane, tokens)

    def forget(self) -> None:
        self.held.clear()
        self.openings.clear()


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens they have in common from the beginning."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def batches(lengths: Sequence[int], at_a_time: int = AT_A_TIME) -> list[list[int]]:
    """Numbers of rows to read together: of like length, so that little is padding, and no more than
    fit at a time.
    """
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        group = found[-1] if found else []
        fits = group and (len(group) + 1) * lengths[group[0]] <= at_a_time
        if fits and lengths[i] >= 0.7 * lengths[group[0]] - 8:
            group.append(i)
        else:
            found.append([i])
    return found
