"""What the next frame will be, given this one and what is done: p(s_t | s_{t−1}, a_{t−1}) by flow
matching (Lipman et al. 2023, arXiv:2210.02747), learned from films.

It is no sample → score → weigh → fit: the noise is inside of the loss. Fit: squared error of the
frame that is foretold from one that is partly noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.images.pretext import noise_for
from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.images.films import Films, FilmSet
from fledge.images.pictures import centre
from fledge.models.images.next_frame import NextFrame as Model
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Rows

SHOWN = 4


@dataclass(frozen=True)
class Noised(Rows):
    """before, after: [B, C, H, W] uint8. action: [B]. t: [B], how far the noise, shaped as a frame,
    is gone.
    """

    before: Tensor
    after: Tensor
    action: Tensor
    t: Tensor
    noise: Tensor


class NextFrame:
    reads = "films"

    class Settings(AlgorithmSettings):
        patch: int | None = Field(
            default=None, ge=1, description="pixels a side of a patch; none: 4, in small pictures 2"
        )
        width: int = Field(
            default=64, ge=8, multiple_of=8, description="channels of the convolutions"
        )
        layers: int = Field(default=4, ge=1, description="pairs of convolutions over patches")
        flow_steps: int = Field(default=2, ge=1, description="of the flow that imagines a frame")

    usual: ClassVar[Mapping[str, Any]] = {"steps": 2000, "rows_per_step": 64}
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
        self.learner = make_learner(model)

    @classmethod
    def build_for(cls, settings: Settings, given: FilmSet) -> Model:
        """Raises UserError for films in which nobody acts, and frames that patches do not fill."""
        shape = given.shape
        if not given.actions:
            raise UserError(
                f"nobody acts in {given.source}: what follows from an action is learned from films "
                "with `action`, such as data=film:gridworld."
            )
        patch = settings.patch or (4 if min(shape.height, shape.width) >= 16 else 2)
        if shape.height % patch or shape.width % patch:
            raise UserError(
                f"patch={patch} does not divide frames of {shape.height} × {shape.width}: give a "
                "divisor of both sides."
            )
        own = settings.model_dump(include={"width", "layers"})
        own |= {"patch": patch, "actions": len(given.actions), "steps": settings.flow_steps}
        return Model(shape, own)

    @staticmethod
    def share(model: Model, rows: Films) -> Tensor:
        before = centre(rows.frames[:, 0], model.shape.levels)
        t = torch.full((len(rows),), 0.5, device=before.device)
        return model.foretell(before, t, before, rows.action[:, 0]).square().mean()

    def update(
        self, batch: Films, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: squared error of a number; copied: that of the frame before."""
        rows = self.noise(batch, noise_for(self.seed, self.learner))
        count = self.learner.count_rows(batch)
        levels = self.model.shape.levels

        def loss(rows: Noised) -> tuple[Tensor, Mapping[str, Tensor]]:
            before, after = centre(rows.before, levels), centre(rows.after, levels)
            t = rows.t.view(-1, 1, 1, 1)
            noised = (1 - t) * rows.noise + t * after
            foretold = self.model.foretell(noised, rows.t, before, rows.action)
            error = ((foretold - after) ** 2).flatten(1).mean(1).sum() / count
            copied = ((before - after) ** 2).flatten(1).mean(1).sum() / count
            return error, {"copied": copied}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, rows)
        return said | {"rows": float(len(batch))}

    def noise(self, batch: Films, generator: torch.Generator) -> Noised:
        """Two neighbouring frames of each film, and by how much noise the second is hidden."""
        B, T = batch.frames.shape[:2]
        at, b = torch.randint(0, T - 1, (B,), generator=generator), torch.arange(B)
        noise = torch.randn(batch.frames[:, 0].shape, generator=generator)
        t = torch.rand(B, generator=generator)
        before, after = batch.frames[b, at], batch.frames[b, at + 1]
        return Noised(before, after, batch.action[b, at], t, noise)

    def draw_sheets(self, held_out: FilmSet, generator: torch.Generator) -> Sequence[Sheet]:
        """The true world, and below it what was imagined from its first frame and its actions."""
        rows = held_out.rows.spread(SHOWN)
        imagined = self.model.roll_out(rows.frames[:, 0], rows.action, generator)
        below = torch.cat([rows.frames[:, :1], imagined], 1)
        shown = torch.stack([rows.frames, below], 1).flatten(0, 2)
        note = "held-out films; below each what is imagined from its first frame and its actions"
        return [
            Sheet("imagined", "Imagined", note, shown, held_out.shape.levels, held_out.frames_each)
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
