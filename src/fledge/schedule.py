"""The learning rate over a run, and where in the run the next optimizer step stands."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

COOLDOWN = 0.2  # of a run: the part of wsd in which the rate falls


@dataclass(frozen=True)
class Schedule:
    """Learning rate over a run: a linear rise over `warmup_steps`, then constant, linear or cosine
    from the peak to `final` × peak; or wsd (warm-up, stable, decay; Hu et al. 2024): the peak up to
    the last fifth of the run, in which it falls by 1 − √ (Hägele et al. 2024, arXiv:2405.18392).

    steps, warmup_steps: in the unit that the learner's clock counts, optimizer steps unless it is
    paced. The first step after the rise is made at the peak; `final` is reached where the run ends,
    one unit after its last step began.
    """

    peak: float
    steps: float
    warmup_steps: float = 0
    shape: Literal["constant", "linear", "cosine", "wsd"] = "constant"
    final: float = 0.1

    def rate(self, place: float) -> float:
        """The learning rate of a step that begins there, counted from 0."""
        if place < self.warmup_steps:
            return self.peak * (place + 1) / (self.warmup_steps + 1)
        if self.shape == "constant":
            return self.peak
        begin = self.warmup_steps
        if self.shape == "wsd":
            begin = max(begin, (1 - COOLDOWN) * self.steps)
        done = min(1.0, max(0.0, place - begin) / max(1, self.steps - begin))
        if self.shape == "wsd":
            left = 1 - math.sqrt(done)
        else:
            left = 1 - done if self.shape == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.peak * (self.final + (1 - self.final) * left)


@dataclass
class Clock:
    """Where in its schedule the next optimizer step stands. Alone it counts steps, made or not.

    Who knows how much of a run a batch is says so before it is learned from (`pace`): however many
    optimizer steps that batch then gets (an update that ends early, rows that teach nothing), the
    schedule ends where the run does.
    """

    place: float = 0.0
    due: float = 0.0  # where the batch in hand ends
    stride: float = 1.0  # of one optimizer step
    passed: float = 0.0  # of the run, the batch in hand included

    def pace(self, units: float, steps: float, after: float = 0.0, last: float = math.inf) -> None:
        """The batch in hand is `units` of the run, learned from in `steps` optimizer steps. The
        schedule begins `after` so many units, and ends `last` units later, whatever a batch holds
        beyond them.
        """
        before, self.passed = self.passed, self.passed + units
        begin, end = (min(last, max(0.0, passed - after)) for passed in (before, self.passed))
        self.place = self.due
        self.due += end - begin
        self.stride = (end - begin) / steps

    def tick(self) -> None:
        self.place += self.stride
        # An update of more steps than were foreseen does not run into the next batch's time.
        if self.due:
            self.place = min(self.place, self.due)

    def restart(self) -> None:
        """The schedule begins anew, in optimizer steps."""
        self.place, self.due, self.stride, self.passed = 0.0, 0.0, 1.0, 0.0

    def state_dict(self) -> dict[str, float]:
        return dataclasses.asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.place, self.due, self.stride = state["place"], state["due"], state["stride"]
        self.passed = state["passed"]
