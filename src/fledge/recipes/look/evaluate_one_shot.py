"""`fledge evaluate` of a prior of programs: Omniglot's one-shot runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.evaluate.one_shot import judge_run
from fledge.images.ink import PAPER
from fledge.images.one_shot import read_runs
from fledge.models.images.picture_model import load_picture_model
from fledge.models.images.programs import Programs
from fledge.recipes.look.sample_pictures import find_picture_folder
from fledge.runs.model_files import check_model
from fledge.runs.show import Show
from fledge.seeds import seed_for


class OneShotConfig(BaseModel):
    """Name pictures of characters that were seen once: the error over one-shot runs, beside that
    of the modified Hausdorff distance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="the run or model folder of `fledge imagine model=programs`")
    data: Path = Field(description="Omniglot's all_runs.zip, or a folder of such runs")
    candidates: int = Field(
        default=4, ge=1, description="known pictures that one is compared with finely, of all that "
        "were compared roughly",
    )  # fmt: skip
    runs: int | None = Field(default=None, ge=1, description="the first so many; by default all")
    seed: int = Field(default=0, ge=0, description="of the walks by which pictures are read")


def find_programs(base: Any) -> Path | None:
    """Where a run or model folder has a prior of programs; None where it has none."""
    folder = find_picture_folder(base)
    if folder is None or not isinstance(load_picture_model(folder), Programs):
        return None
    return folder


def evaluate_one_shot(config: OneShotConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for runs that cannot be read."""
    folder = find_programs(config.base)
    assert folder is not None
    check_model(folder)
    model = load_picture_model(folder)
    assert isinstance(model, Programs)
    runs = read_runs(config.data)[: config.runs]
    for run in runs:
        if run.known.shape[1:] != (PAPER, PAPER):
            height, width = run.known.shape[1:]
            raise UserError(
                f"{run.name} of {config.data} has pictures of {height} × {width}: programs are of "
                f"{PAPER} × {PAPER}; resize them first."
            )
    began, told = time.perf_counter(), []
    wrong = yardstick = asked = 0
    for run in runs:
        random = np.random.default_rng(seed_for(config.seed, "evaluation", run.name))
        verdict = judge_run(run, model.prior, random, config.candidates)
        own, theirs, number = verdict.wrong.sum(), verdict.hausdorff_wrong.sum(), len(run.answer)
        show.line(f"{run.name}: {own} of {number} wrong; by modified Hausdorff distance {theirs}")
        told.append({"run": run.name, "asked": number, "wrong": int(own), "hausdorff": int(theirs)})
        wrong, yardstick, asked = wrong + own, yardstick + theirs, asked + number
    seconds = time.perf_counter() - began
    show.line(
        f"error {wrong / asked:.1%} of {asked} in {len(runs)} runs; modified Hausdorff distance "
        f"{yardstick / asked:.1%}; {seconds:.0f} s"
    )
    return {
        "base": str(config.base), "data": str(config.data), "error": wrong / asked,
        "hausdorff_error": yardstick / asked, "asked": asked, "runs": told, "seconds": seconds,
    }  # fmt: skip
