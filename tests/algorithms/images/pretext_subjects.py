"""Small pictures, films and algorithms that learn from them without labels."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from fledge.algorithms.registry import find_entry
from fledge.images.films import FilmSet, make_films
from fledge.images.pictures import PictureSet, make_set
from fledge.stopwatch import Stopwatch
from tests.subjects import learner, seeded

OF_PICTURES = ("mae", "relative_position", "colourisation", "simclr", "dino")
OF_FILMS = ("frame_order", "arrow_of_time", "colour_tracking")
EVERY = (*OF_PICTURES, *OF_FILMS)


def pictures(rows: int = 7, side: int = 16) -> PictureSet:
    x = torch.randint(0, 256, (rows, 3, side, side), generator=seeded(0)).to(torch.uint8)
    return make_set(x, None, 256, (), "noise")


def films(rows: int = 7, frames: int = 6, side: int = 16) -> FilmSet:
    size = (rows, frames, 3, side, side)
    return make_films(torch.randint(0, 256, size, generator=seeded(0)).to(torch.uint8), None, None)


def data(name: str) -> Any:
    return films() if name in OF_FILMS else pictures()


def make(name: str, seed: int = 0, rows_per_micro_batch: int | None = None, **fields: Any) -> Any:
    """The algorithm with a small network of fresh weights."""
    entry = find_entry("images", name)
    settings = entry.settings("images").replace(width=16, layers=1, heads=2, **fields)
    torch.manual_seed(seed)
    model = entry.algorithm.build(settings, data(name).shape)
    make_learner = partial(learner, rows_per_micro_batch=rows_per_micro_batch)
    return entry.algorithm(settings, model, make_learner, seed, Stopwatch())
