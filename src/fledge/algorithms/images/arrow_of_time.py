"""Whether a film runs forwards or backwards (Wei et al. 2018, "Learning and using the arrow of
time").

sample: data.  score: –.  weigh: 1.  fit: cross-entropy of the direction, from what the encoder says
    of each of a few frames alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.images.clips import Clips, choose_frames
from fledge.algorithms.images.frame_order import check_length, make_reader, read_frames
from fledge.algorithms.images.pretext import EncoderSettings, Pretext, noise_for, sum_of_right
from fledge.images.films import Films


class ArrowOfTime(Pretext):
    reads = "films"

    class Settings(EncoderSettings):
        frames: int = Field(default=3, ge=2, description="of a film that are looked at")

    def make_heads(self) -> nn.Module:
        return make_reader(self.model.width, self.settings.frames, 2)

    def update(
        self, batch: Films, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. accuracy: how often the direction is right; by chance 1/2."""
        rows = turn_some(batch, self.settings.frames, noise_for(self.seed, self.learner))
        count = self.learner.count_rows(batch)

        def loss(rows: Clips) -> tuple[Tensor, Mapping[str, Tensor]]:
            logits = self.heads(read_frames(self.model, rows.x)).float()
            share = F.cross_entropy(logits, rows.answer, reduction="sum") / count
            return share, {"accuracy": sum_of_right(logits, rows.answer, count)}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, rows)
        return said | {"rows": float(len(batch))}


def turn_some(films: Films, frames: int, generator: torch.Generator) -> Clips:
    """answer: 1 where the clip runs backwards.  Raises UserError for films that are too short."""
    check_length(films, frames)
    clip = choose_frames(films, frames, generator)
    back = torch.rand(len(films), generator=generator) < 0.5
    return Clips(torch.where(back.view(-1, 1, 1, 1, 1), clip.flip(1), clip), back.long())
