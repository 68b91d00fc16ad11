"""Small pictures that the tests of models of pictures share."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fledge.algorithms.images.protocol import MakeLearner
from fledge.images.digits import load_digits
from fledge.images.pictures import PictureSet
from fledge.learner import Learner, Schedule
from fledge.optimizers import NamedParameters, adamw
from fledge.recipes.images.imagine import ImagineConfig, imagine
from fledge.runs.show import Show
from fledge.stopwatch import Stopwatch


def some_digits(number: int = 64) -> PictureSet:
    return load_digits().take(slice(0, number))


def descent(named: NamedParameters, rate: float) -> torch.optim.Optimizer:
    """Plain: a gradient that is off by rounding moves a weight by as little, and one that is wrong
    by as much.
    """
    return torch.optim.SGD([p for _, p in named], lr=rate)


def learner_maker(rows_per_micro_batch: int | None = None, *, plain: bool = False) -> MakeLearner:
    def make(module: torch.nn.Module) -> Learner:
        maker, rate = (descent, 0.1) if plain else (adamw(weight_decay=0.0), 1e-3)
        return Learner(
            module, Schedule(rate, 100), optimizer=maker, clip=0.0,
            rows_per_micro_batch=rows_per_micro_batch,
        )  # fmt: skip

    return make


def make_algorithm(
    kind: Any, settings: Any, given: PictureSet, *, micro: int | None = None, plain: bool = False
) -> Any:
    """Always of the same weights. micro: rows of a micro-batch. plain: learns by `descent`."""
    torch.manual_seed(3)
    model = kind.build(settings, given.shape)
    return kind(settings, model, learner_maker(micro, plain=plain), 7, Stopwatch())


def weights_of(algorithm: Any) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in algorithm.model.state_dict().items()}


def run_imagine(folder: Path, **fields: Any) -> dict[str, Any]:
    """The summary of a run in this process."""
    config = ImagineConfig.read({"out": folder, "device": "cpu", "compile": "no", **fields})
    return imagine(config, Show(Console(file=io.StringIO())))
