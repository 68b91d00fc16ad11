"""Bayesian program learning (Lake, Salakhutdinov & Tenenbaum 2015): the prior of programs, out of
drawings whose strokes are known.

It is no sample → score → weigh → fit with a gradient, but counted: sample: all drawings; score and
weigh: how likely each primitive is for each sub-stroke (E-step); fit: closed form. A step is one
iteration of EM for the primitives; all else is counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from fledge.algorithms.images.program_counts import (
    begin_primitives,
    count_structure,
    expect_primitives,
    fit_primitives,
    read_programs,
)
from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.images.ink import PAPER
from fledge.images.pictures import Pictures, PictureSet, PictureShape
from fledge.images.strokes import Drawings
from fledge.models.images.program_draws import redraw
from fledge.models.images.program_prior import Chains
from fledge.models.images.program_search import read_picture
from fledge.models.images.programs import Programs as Model
from fledge.models.images.programs import ink, take_numpy
from fledge.models.images.stroke_parts import cut_at_rests
from fledge.models.images.stroke_program import Program, write_program
from fledge.stopwatch import Stopwatch

SHOWN, READINGS, HANDS = 8, 3, 8
WANTED = (
    "programs are learned from drawings whose strokes are known: give data=scribbles, or a folder "
    "or .zip of Omniglot's strokes"
)


@dataclass(frozen=True, eq=False)
class Read:
    """All drawings as programs, what each is of, and their strokes as chains of sub-strokes."""

    programs: list[Program]
    labels: list[int]
    chains: Chains


class Programs:
    class Settings(AlgorithmSettings):
        primitives: int = Field(default=32, ge=1, description="kinds of sub-stroke, K")
        counts: float = Field(
            default=0.1, gt=0, description="imagined counts of every possibility that is counted"
        )

    # Nothing is differentiated: there is no precision to choose, and nothing to compile. Whether
    # characters are new and alike is judged by naming them (`fledge evaluate`).
    usual: ClassVar[Mapping[str, Any]] = {
        "steps": 20, "precision": "fp32", "compile": "no", "judged_samples": 0,
    }  # fmt: skip
    whole: ClassVar[bool] = True  # every step is of all drawings
    unfinished = None

    def __init__(
        self,
        settings: Settings,
        model: Model,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.settings, self.model, self.seed, self.stopwatch = settings, model, seed, stopwatch
        self.steps = 0
        self._read: Read | None = None
        self._structure: float | None = None  # its log-probability, which no step changes

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> Model:
        if (*shape.size, shape.levels) != (1, PAPER, PAPER, 2):
            raise UserError(f"the pictures are {shape.describe()}, and {WANTED}.")
        return Model(shape, {"primitives": settings.primitives})

    @staticmethod
    def share(model: Model, rows: Pictures) -> torch.Tensor:
        raise NotImplementedError("nothing is differentiated")

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """loss: nats a drawing, −log p of its program under the prior before this step.
        nats_of_parts: of it, what the shapes and sizes of sub-strokes cost.
        """
        if not isinstance(batch, Drawings):
            raise UserError(f"the data is of pictures alone, and {WANTED}.")
        with self.stopwatch.phase("score"):
            read = self.read(batch)
        with self.stopwatch.phase("fit"):
            prior, counts = self.model.prior, self.settings.counts
            if self.steps == 0:
                random = np.random.default_rng([self.seed, 0])
                prior = begin_primitives(prior, read.chains, random)
                prior = count_structure(prior, read.programs, read.labels, counts)
            if self._structure is None:
                self._structure = sum(map(prior.log_prob_of_structure, read.programs))
            expected = expect_primitives(prior, read.chains)
            self.model.learn(fit_primitives(prior, read.chains, expected, counts))
            self.steps += 1
        n = len(read.programs)
        return {
            "loss": -(expected.log_prob + self._structure) / n,
            "nats_of_parts": -expected.log_prob / n,
            "primitives_used": float((expected.gamma.sum((0, 1)) > 1).sum()),
            "rows": float(n),
        }

    def read(self, batch: Drawings) -> Read:
        """Each drawing as a program, once: every step is of the same drawings, in whatever order
        they come; they are counted in that of their contents.
        """
        if self._read is None or len(self._read.programs) != len(batch):
            keys = [points.numpy().tobytes() for points in batch.points]
            order = sorted(range(len(batch)), key=keys.__getitem__)
            programs = [
                write_program([cut_at_rests(stroke) for stroke in batch.strokes_of(row)])
                for row in order
            ]
            labels = batch.label[torch.tensor(order)].tolist()
            self._read, self._structure = Read(programs, labels, read_programs(programs)), None
        return self._read

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        """Held-out pictures beside the programs that were read in them, and drawn by other
        hands.
        """
        random, prior = take_numpy(generator), self.model.prior
        read: list[torch.Tensor] = []
        again: list[torch.Tensor] = []
        for x in held_out.rows.spread(SHOWN).x:
            readings = read_picture(x[0].numpy() > 0, prior, random, READINGS)
            programs = [reading.program for reading in readings]
            programs += [programs[-1]] * (READINGS - len(programs))
            read += [x, *(ink(each) for each in programs)]
            hands = [redraw(programs[0], prior, random) for _ in range(HANDS)]
            again += [x, *(ink(each) for each in hands)]
        return [
            Sheet(
                "readings", "Read", "held-out pictures, each beside the likeliest programs that "
                "were read in it", torch.stack(read), 2, 2 * (1 + READINGS),
            ),
            Sheet(
                "hands", "By other hands", "held-out pictures, and each drawn again by its program",
                torch.stack(again), 2, 1 + HANDS,
            ),
        ]  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]
