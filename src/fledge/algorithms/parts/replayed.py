"""The optimizer steps of one update out of a memory: what was seen goes in, and so many draws come
out; all of it is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic import Field

from fledge.algorithms.settings import AlgorithmSettings
from fledge.trajectories import Trajectories


class Owes(Protocol):
    """Settings by which experience is paid for."""

    @property
    def updates_per_step(self) -> int: ...
    @property
    def learning_starts(self) -> int: ...


class MemorySettings(AlgorithmSettings):
    """Of an algorithm that learns from a memory."""

    gamma: float = Field(default=0.99, ge=0, le=1, description="discount per step")
    buffer: int = Field(default=100_000, ge=1, description="steps that are remembered")
    learning_starts: int = Field(
        default=1_000, ge=0, description="world steps before the first optimizer step"
    )
    updates_per_step: int = Field(
        default=32, ge=1, description="optimizer steps for each batch of experience"
    )
    rows_per_update: int = Field(
        default=256, ge=1, description="steps out of the memory that an optimizer step learns from"
    )


class Replayed:
    """Owes `updates_per_step` optimizer steps for every batch of experience, none before
    `learning_starts` world steps were seen.

    batch: what an update is in the middle of, or None; it has been pushed then, and is kept only
        for whoever asks. read_batch: what makes one out of its state.
    """

    def __init__(
        self,
        replay: Any,  # has `push`, `state_dict` and a length; its owner draws from it
        settings: Owes,
        read_batch: Callable[[Mapping[str, Any]], Any] = Trajectories.from_state,
    ) -> None:
        self.replay: Any = replay
        self.read_batch = read_batch
        self.updates_per_step, self.learning_starts = (
            settings.updates_per_step,
            settings.learning_starts,
        )
        self.world_steps = 0  # that were chosen, ever
        self._clear()

    def _clear(self) -> None:
        self.batch: Any = None
        self.made = 0  # optimizer steps for this batch
        self.figures: dict[str, float] = {}  # of this batch, so far
        self.seen: dict[str, int] = {}  # how many of them said each figure

    @property
    def started(self) -> bool:
        return self.world_steps >= self.learning_starts and len(self.replay) > 0

    def begin(self, batch: Any) -> None:
        self.world_steps += self.replay.push(batch)
        self.batch = batch

    def run(
        self, fit: Callable[[], dict[str, float]], between_steps: Callable[[], None]
    ) -> dict[str, float]:
        """The optimizer steps that are left, then nothing is unfinished.  -> the figures: means
        over the steps made, and how many

        `between_steps` is called after each: a good moment to save and stop. A figure that not
        every step has is the mean of those that have it.
        """
        while self.started and self.made < self.updates_per_step:
            step = fit()
            if skipped := step.pop("steps_skipped", 0.0):
                self.figures["steps_skipped"] = self.figures.get("steps_skipped", 0.0) + skipped
                if not self.seen:  # if no step follows either, these are all the figures there are
                    self.figures = {**step, **self.figures}
                step = {}
            for name, value in step.items():
                self.seen[name] = self.seen.get(name, 0) + 1
                mean = self.figures[name] if self.seen[name] > 1 else value
                self.figures[name] = mean + (value - mean) / self.seen[name]
            self.made += 1
            between_steps()
        figures = {
            "updates": self.made - self.figures.get("steps_skipped", 0),
            "remembered": len(self.replay),
            **self.figures,
        }
        self._clear()
        return figures

    def state_dict(self) -> dict[str, Any]:
        return {
            "replay": self.replay.state_dict(),
            "world_steps": self.world_steps,
            "batch": None if self.batch is None else self.batch.state_dict(),
            "made": self.made,
            "figures": self.figures,
            "seen": self.seen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.replay.load_state_dict(state["replay"])
        self.world_steps, self.made = state["world_steps"], state["made"]
        self.figures, self.seen = dict(state["figures"]), dict(state["seen"])
        self.batch = None
        if state["batch"] is not None:
            self.batch = self.read_batch(state["batch"])
