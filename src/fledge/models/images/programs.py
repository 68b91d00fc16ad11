"""Characters as programs, in the form of a model of pictures: what is learned is the prior, and a
picture is drawn by inventing a program and running it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.images.ink import draw_ink
from fledge.images.pictures import PictureShape
from fledge.models.images.picture_model import PictureModel
from fledge.models.images.program_draws import invent
from fledge.models.images.program_prior import (
    CELLS,
    MOST_PARTS,
    MOST_STROKES,
    NAMES,
    NUMBERS,
    ProgramPrior,
)
from fledge.models.images.stroke_program import KINDS, Program


class Programs(PictureModel):
    """settings: primitives, K. It has no density of pictures, which would be a sum over all
    programs; that of a program is `prior.log_prob`.
    """

    name = "programs"
    measure = "none"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        for name, value in asdict(make_even_prior(settings["primitives"])).items():
            self.register_buffer(name, torch.from_numpy(np.array(value)))

    @property
    def prior(self) -> ProgramPrior:
        return ProgramPrior(**{name: getattr(self, name).numpy() for name in NAMES})

    def learn(self, prior: ProgramPrior) -> None:
        """Take it in place of the one there is."""
        for name, value in asdict(prior).items():
            getattr(self, name).copy_(torch.from_numpy(np.array(value)))

    def count_parameters(self) -> int:
        return sum(buffer.numel() for buffer in self.buffers())

    def sample(self, count: int, generator: torch.Generator, label: Tensor | None = None) -> Tensor:
        random, prior = take_numpy(generator), self.prior
        return torch.stack([ink(invent(prior, random)) for _ in range(count)])


def make_even_prior(primitives: int) -> ProgramPrior:
    """Of nothing seen: all alike, and shapes wide about 0."""
    K = primitives
    return ProgramPrior(
        strokes=np.full(MOST_STROKES, 1 / MOST_STROKES),
        parts=np.full((MOST_STROKES, MOST_PARTS), 1 / MOST_PARTS),
        first=np.full(K, 1 / K),
        following=np.full((K, K), 1 / K),
        shape_mean=np.zeros((K, NUMBERS)),
        shape_variance=np.full((K, NUMBERS), 0.25),
        size_mean=np.full(K, 3.0),
        size_variance=np.ones(K),
        start=np.full((2, CELLS, CELLS), 1 / CELLS**2),
        relation=np.full(len(KINDS), 1 / len(KINDS)),
        attached=np.array(2.0),
        hand=np.array([0.05, 0.1, 2.0, 0.1, 4.0]),
    )


def take_numpy(generator: torch.Generator) -> np.random.Generator:
    """NumPy's random numbers, which follow from the generator's next one."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))


def ink(program: Program) -> Tensor:
    """Its likeliest picture: the noise of pixels is for reading ink, and is not drawn.  -> [1,
    PAPER, PAPER] uint8, 1 is black
    """
    return draw_ink([torch.from_numpy(path).float() for path in program.draw()])[None]
