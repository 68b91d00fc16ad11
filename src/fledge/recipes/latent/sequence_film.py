"""What a film of a sequence shows of a model: states of a hidden Markov model, the band of a
smoother.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fledge.models.latent.hidden_markov import HiddenMarkov
from fledge.models.latent.state_space import StateSpace
from fledge.report.sequence_film import SequenceFrame, draw_sequence_film
from fledge.rows.sequences import Sequences

SHOWN = 160  # steps, of the longest sequence


def film_sequence(sequences: Sequences, models: Sequence[tuple[int, Any]]) -> str:
    """models: (step, model) in order. Only the first column is drawn; of symbols their numbers."""
    longest = int(np.argmax(sequences.lengths))
    x = sequences.each()[longest][:SHOWN]
    first = x.double() if x.ndim == 1 else x[:, 0]
    frames = [make_frame(step, model, x) for step, model in models]
    what = "symbol" if sequences.symbols else sequences.columns[0]
    return draw_sequence_film(first.numpy(), frames, what, "A sequence, step by step")


def make_frame(step: int, model: HiddenMarkov | StateSpace, x: torch.Tensor) -> SequenceFrame:
    if isinstance(model, HiddenMarkov):
        return SequenceFrame(step, share=model.responsibility(x).numpy())
    mean, covariance = model.infer(x)
    own = model.loading[0]
    line = mean @ own + model.offset[0]
    wide = 2 * torch.einsum("i,nij,j->n", own, covariance, own).clamp_min(0).sqrt()
    return SequenceFrame(
        step, mean=line.numpy(), low=(line - wide).numpy(), high=(line + wide).numpy()
    )
