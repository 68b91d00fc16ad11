"""The one exchange of an optimizer step: beside what it sums, ranks tell each other whether one was
asked to stop, whether a checkpoint is due, and how long each has waited for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fledge import ranks

T = TypeVar("T")


@dataclass(frozen=True)
class Heard:
    """Since it was last taken. asked: any rank to stop. due: a checkpoint, by the first one's
    clock. waited: seconds of each rank, none of one process.
    """

    asked: bool
    due: bool
    waited: tuple[float, ...] = ()


def _say_nothing() -> tuple[bool, bool]:
    return False, False


_ask: Callable[[], tuple[bool, bool]] = _say_nothing
_heard: Heard | None = None


@contextmanager
def telling(ask: Callable[[], tuple[bool, bool]]) -> Iterator[None]:
    """ask: whether this process was asked to stop, and whether a checkpoint is due."""
    global _ask, _heard
    before, _ask, _heard = _ask, ask, None
    try:
        yield
    finally:
        _ask, _heard = before, None


def exchange(x: T) -> list[T]:
    """Every rank's x, in the order of ranks, as `ranks.gather`; what else is told goes with it.

    Ranks have left the exchange before this one together, so that each waits here as long as the
    one that computed longest has computed longer.
    """
    global _heard
    if ranks.world() == 1:
        return [x]
    told: list[Any] = ranks.gather((x, *_ask(), ranks.take_waited(), ranks.since_last()))
    ranks.take_waited()  # that of this call is in what follows
    _, asked, due, waited, busy = zip(*told, strict=True)
    longest = max(busy)
    seconds = [before + longest - own for before, own in zip(waited, busy, strict=True)]
    if _heard is not None:
        seconds = [a + b for a, b in zip(seconds, _heard.waited, strict=True)]
    so_far = _heard is not None and _heard.asked
    _heard = Heard(any(asked) or so_far, due[0], tuple(seconds))
    return [each[0] for each in told]


def hear() -> Heard:
    """What was told since it was last taken; asked now where nothing was."""
    if ranks.world() == 1:
        return Heard(*_ask())
    if _heard is None:
        exchange(None)
    assert _heard is not None
    return _heard


def take() -> Heard:
    """The same, for the last time."""
    global _heard
    heard, _heard = hear(), None
    return heard
