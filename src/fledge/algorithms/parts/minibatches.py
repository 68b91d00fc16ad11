"""The optimizer steps of one update: which rows each of them takes, how far they have come and what
they said; all of it is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.trajectories import Trajectories

R = TypeVar("R", bound=Trajectories)


class LabelledSettings(AlgorithmSettings):
    """Of an algorithm that clones steps drawn from all that were ever labelled."""

    updates_per_step: int = Field(
        default=32, ge=1, description="optimizer steps after each batch of samples"
    )
    rows_per_update: int = Field(
        default=64, ge=1, description="labelled steps that an optimizer step learns from"
    )


class Minibatches(Generic[R]):
    """Cuts a weighed batch into `updates_per_step` optimizer steps: `epochs` passes over all rows,
    each in a fresh random order.

    batch: what an update is in the middle of, or None. kind: its type, as which a saved one comes
    back. generator: of the orders; seeded with 0 unless given.
    """

    def __init__(
        self,
        updates_per_step: int,
        epochs: int,
        generator: torch.Generator | None = None,
        *,
        kind: type[R],
    ) -> None:
        if epochs < 1 or updates_per_step < 1 or updates_per_step % epochs:
            raise ValueError(
                f"updates_per_step={updates_per_step} must be a multiple of epochs={epochs}."
            )
        self.steps = updates_per_step
        self.pieces, self.epochs, self.kind = updates_per_step // epochs, epochs, kind
        self.generator = generator or torch.Generator().manual_seed(0)
        self._clear()

    def _clear(self) -> None:
        self.batch: R | None = None
        # an epoch's number and the batch in its order
        self._shuffled: tuple[int, R] | None = None
        self.order: list[Tensor] = []  # the rows of each optimizer step
        self.position = 0  # optimizer steps made on this batch
        self.figures: dict[str, float] = {}  # of this batch, so far

    def begin(self, batch: R, figures: Mapping[str, float]) -> None:
        """figures: what was measured before the first step. Raises UserError for fewer rows than
        steps in an epoch.
        """
        if len(batch) < self.pieces:
            raise UserError(
                f"{len(batch)} rows cannot be cut into {self.pieces} updates per epoch: give fewer "
                "updates, or more rows to each."
            )
        orders = [torch.randperm(len(batch), generator=self.generator) for _ in range(self.epochs)]
        self.order = [rows for order in orders for rows in order.tensor_split(self.pieces)]
        self.batch, self.position, self.figures = batch, 0, dict(figures)

    def run(
        self,
        fit: Callable[[R], dict[str, float]],
        between_steps: Callable[[], None],
        enough: Callable[[dict[str, float]], bool] = lambda step: False,
    ) -> dict[str, float]:
        """The optimizer steps that are left, then nothing is unfinished.  -> the figures: means
        over the steps made, and how many

        `between_steps` is called after each: a good moment to save and stop. `enough` looks at a
        step's figures and ends early.
        steps_skipped: pieces that had nothing to teach, of which no step was made.
        """
        while self.batch is not None and self.position < len(self.order):
            step = fit(self._piece(self.batch))
            self.position += 1
            if skipped := step.pop("steps_skipped", 0.0):
                self.figures["steps_skipped"] = self.figures.get("steps_skipped", 0.0) + skipped
                if not self._made:  # if no step follows either, these are all the figures there are
                    self.figures = {**step, **self.figures}
            else:
                for name, value in step.items():
                    mean = self.figures.get(name, 0.0) if self._made > 1 else value
                    self.figures[name] = mean + (value - mean) / self._made
                if enough(step):
                    self.figures["updates"] = self._made
                    self.position = len(self.order)
            between_steps()
        figures = {"updates": self._made, **self.figures}
        self._clear()
        return figures

    @property
    def _made(self) -> int:
        return self.position - int(self.figures.get("steps_skipped", 0))

    def _piece(self, batch: R) -> R:
        """The rows of the next optimizer step, cut out of a batch that is put in order once an
        epoch.
        """
        epoch, place = divmod(self.position, self.pieces)
        orders = self.order[epoch * self.pieces : (epoch + 1) * self.pieces]
        if self._shuffled is None or self._shuffled[0] != epoch:
            self._shuffled = epoch, batch[torch.cat(orders)]
        begin = sum(map(len, orders[:place]))
        return self._shuffled[1][begin : begin + len(orders[place])]

    def state_dict(self) -> dict[str, Any]:
        return {
            "batch": None if self.batch is None else self.batch.state_dict(),
            "order": self.order,
            "position": self.position,
            "figures": self.figures,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batch = None if state["batch"] is None else self.kind.from_state(state["batch"])
        self.order, self.position, self.figures = (
            list(state["order"]),
            state["position"],
            dict(state["figures"]),
        )
        self.generator.set_state(state["generator"])
        self._shuffled = None


def keep_rows(batch: R, rows: Tensor, at_least: int) -> R:
    """The rows that are marked, [B] bool. Fewer than `at_least` are filled up with others, in which
    nothing is chosen.

    So there are rows for every optimizer step, whatever was dropped; one in which nothing is chosen
    is not made.
    """
    kept = batch.replace(chosen=batch.chosen & rows[:, None])
    place = rows.nonzero().squeeze(1)
    blank = (~rows).nonzero().squeeze(1)[: max(0, at_least - len(place))]
    return kept[torch.cat([place, blank])]
