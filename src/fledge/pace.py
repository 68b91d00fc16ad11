"""How many threads compute the steps of some work: watched, and tried anew where steps come to take
another time than usual, for other programs have come or gone. Where fewer compute than there are
other numbers are tried from time to time: one thread does not feel it when a program that was
beside it ends.

A trial is made of real steps, a few with each number of threads and a few as before, twice, the
second time in the other order: steps that cost more and more, as those of longer and longer texts
do, bend none of the numbers. A sum that is split among other threads may have other last bits, so
every change is known by the step it begins with before that step is computed: who keeps `changes`
can do it all again.
"""

from __future__ import annotations

import itertools
import math
import os
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

SETS_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SLOWER, FASTER = 2.0, 0.75  # times the usual seconds of a step: the others have come, or gone
GAIN = 1.1  # that another number of threads has to bring: less is what measuring itself errs by
LONG_ENOUGH_S = 0.25  # of steps of one kind: the operating system gives each program its turn
FEWEST, MOST = 3, 100  # steps of one kind
KNOWN = 10  # steps from which their usual time is told
# From trial to trial; after each that changed nothing twice as long.
AGAIN_S, SELDOM_S = 10.0, 600.0
SHARE = 20  # times what a trial without a reason takes: as long passes before the next

Change = tuple[int, int]  # the first step, and how many threads compute it and those after it


def threads_are_set() -> bool:
    """Whether the user has said by the environment how many there are."""
    return any(os.environ.get(name) for name in SETS_THREADS)


def list_choices(most: int) -> list[int]:
    """All, half of them, one: what is worth a trial."""
    return sorted({most, max(1, most // 2), 1}, reverse=True)


def compute_with(threads: int) -> None:
    """From here on, in this thread's calls of torch."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@dataclass
class _Trial:
    """present: the threads before it. last: its last step. numbers: of threads that are tried.
    unasked: steps gave no reason for it. Seconds and work of each.
    """

    present: int
    last: int
    numbers: set[int]
    unasked: bool
    seconds: dict[int, float] = field(default_factory=dict)
    work: dict[int, float] = field(default_factory=dict)

    def add(self, threads: int, seconds: float, work: float) -> None:
        self.seconds[threads] = self.seconds.get(threads, 0.0) + seconds
        self.work[threads] = self.work.get(threads, 0.0) + work

    def cost(self, threads: int) -> float:
        return self.seconds[threads] / self.work[threads]


class Pace:
    """Whoever computes steps, numbered from 1, calls `begin` before each and `end` after it.

    threads: of the first step. choices: numbers of threads that may be tried; none where they are
    not to change. changes: of the steps to come or to be computed again, in order; while there are
    any, nothing is tried. keep: called when `changes` has grown, before the first step of what is
    new. say: one sentence where the choice is another. eager: a first trial as soon as the usual
    time is known, where nothing was measured before.
    """

    def __init__(
        self,
        threads: int,
        choices: Sequence[int],
        changes: Sequence[Change] = (),
        *,
        keep: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda text: None,
        eager: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads, self.choices, self.changes = threads, choices, list(changes)
        self._keep, self._say, self._eager, self._clock = keep, say, eager, clock
        self._trial: _Trial | None = None
        self._steps: deque[tuple[float, float]] = deque(maxlen=4 * MOST)  # seconds, work
        self._wait, self._since = AGAIN_S, -math.inf  # from trial to trial, and the last one
        # With fewer threads than there are; seconds that others took in the last trial.
        self._patience, self._begun, self._tried = AGAIN_S, clock(), 0.0

    def threads_at(self, step: int) -> int:
        """How many threads compute a step."""
        return next((n for first, n in reversed(self.changes) if first <= step), self.threads)

    def begin(self, step: int) -> None:
        """Compute what follows with as many threads as this step has."""
        compute_with(self.threads_at(step))

    def end(self, step: int, seconds: float, work: float = 1.0) -> None:
        """A step took so long, for so much work in whatever unit. Of a step that is unlike the
        others nothing need be said.
        """
        if self._trial is not None:
            self._trial.add(self.threads_at(step), seconds, work)
            if step >= self._trial.last:
                self._decide(step, self._trial)
        elif not self.changes or step > self.changes[-1][0]:
            self._steps.append((seconds, work))
            early = self._clock() - self._since < self._wait
            if not self.choices or early or len(self._steps) < KNOWN:
                return
            each = self._count_enough()
            asked = self._eager or self._has_reason(each)
            if asked or self._could_be_more(step, each):
                self._try(step, each, unasked=not asked)

    def _count_enough(self) -> int:
        """How many steps of one kind tell how fast they are."""
        usual = statistics.median(seconds for seconds, _ in self._steps)
        return min(MOST, max(FEWEST, math.ceil(LONG_ENOUGH_S / max(usual, 1e-6))))

    def _has_reason(self, each: int) -> bool:
        if len(self._steps) < 3 * each:
            return False
        costs = [seconds / work for seconds, work in self._steps]
        usual, recent = statistics.median(costs), statistics.median(costs[-each:])
        return recent >= SLOWER * usual or recent <= FASTER * usual

    def _could_be_more(self, step: int, each: int) -> bool:
        """Whether fewer threads compute than might, and none was tried for long."""
        fewer = self.threads_at(step) < max(self.choices)
        if not fewer:
            return False
        # Steps that others compute are to be a twentieth of the time, as far as is known of them.
        usual = statistics.median(seconds for seconds, _ in self._steps)
        others = 2 * math.ceil(each / 2) * (len(self.choices) - 1) * usual
        waited = self._clock() - max(self._since, self._begun)
        return waited >= max(self._patience, SHARE * max(others, self._tried))

    def _try(self, step: int, each: int, unasked: bool) -> None:
        """Plan so many steps with each of the others, half of them there and half on the way back,
        and as many as before for comparison, half of them first and half last.
        """
        present, half = self.threads_at(step), math.ceil(each / 2)
        others = [n for n in self.choices if n != present]
        order = [present, *others, *reversed(others), present]
        for number, (before, n) in enumerate(itertools.pairwise(order), start=1):
            if n != before:
                self.changes.append((step + 1 + number * half, n))
        self._trial = _Trial(present, step + half * len(order), set(order), unasked)
        self._keep()

    def _decide(self, step: int, trial: _Trial) -> None:
        self._trial, self._eager, self._since = None, False, self._clock()
        self._steps.clear()
        best, present = min(trial.seconds, key=trial.cost), trial.present
        self._tried = sum(trial.seconds.values()) - trial.seconds.get(present, 0.0)
        # Of a number whose steps were all left out nothing is known.
        known = trial.numbers == trial.seconds.keys()
        gain = trial.cost(present) / trial.cost(best) if known else 1.0
        if gain < GAIN:
            if trial.unasked:
                self._patience = min(SELDOM_S, 2 * self._patience)
            else:
                self._wait = min(SELDOM_S, 2 * self._wait)
            return
        self._wait = self._patience = AGAIN_S
        self.changes.append((step + 1, best))
        self._keep()
        self._say(
            f"from step {step + 1} on {best} {'thread' if best == 1 else 'threads'}: "
            f"{gain:.1f} times as fast as {present}, as was just tried"
        )


class SizedPace:
    """Of work that is never done again, such as a server's, whose steps are of several sizes: each
    size, to within a factor of two, has what proves to be fastest for it. Thirty rows want more
    threads than one; with one choice for all, rows that came after a single one had its thread for
    `AGAIN_S`.

    threads: so many always; None: all that there are at first, and then those that are fastest.
    """

    def __init__(self, threads: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.threads = threads or torch.get_num_threads()
        is_open = threads is None and self.threads > 1 and not threads_are_set()
        self._choices = list_choices(self.threads) if is_open else []
        self._clock = clock
        self._paces: dict[int, Pace] = {}
        self._steps: Counter[int] = Counter()  # of each size
        self._now: int | None = None  # the size of the step under way, None of a large one

    def begin_large(self) -> None:
        """Compute what follows with all threads: of whatever size, it is worth them."""
        self._now = None
        compute_with(self.threads)

    def begin(self, size: int) -> None:
        """Compute what follows, so many rows (1 or more), with as many threads as that size has."""
        self._now = now = (size - 1).bit_length()  # 1, 2, 3 to 4, 5 to 8, …
        if now not in self._paces:
            self._paces[now] = Pace(self.threads, self._choices, eager=True, clock=self._clock)
        self._steps[now] += 1
        self._paces[now].begin(self._steps[now])

    def end(self, seconds: float) -> None:
        """The step took so long. Of one that is unlike the others nothing need be said."""
        if self._now is not None:
            self._paces[self._now].end(self._steps[self._now], seconds)
