"""`fledge evaluate` of a model that makes pictures: the nats of held-out ones, where it has a
density, and how good its samples are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.images.sheet import encode_sheet
from fledge.models.images.picture_model import load_picture_model
from fledge.recipes.images.config import ImagineConfig
from fledge.recipes.images.data import read_parts
from fledge.recipes.images.judging import list_judges
from fledge.recipes.images.quality import check_count, judge_model
from fledge.recipes.look.sample_pictures import find_picture_folder
from fledge.runs.atomic import write_bytes
from fledge.runs.folder import Run, is_run
from fledge.runs.model_files import check_model
from fledge.runs.provenance import start_folder
from fledge.runs.show import Show


class EvaluatePicturesConfig(BaseModel):
    """Measure a model of `fledge imagine`: nats of the test part, and samples against real
    pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="the run or model folder to measure")
    data: str | None = Field(
        default=None, description="pictures to hold it against; by default those of the run"
    )
    judged_samples: int = Field(
        default=1000, ge=0, description="drawn to be held against real pictures; 0: none"
    )
    out: Path | None = Field(
        default=None, description=".png of what was drawn beside the nearest training pictures"
    )
    seed: int = Field(default=0, ge=0, description="of the draws")


@torch.no_grad()
def evaluate_pictures(config: EvaluatePicturesConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for pictures of another shape than the model's, and where none are known."""
    check_count(config.judged_samples)
    if config.out is not None and config.out.suffix != ".png":
        raise UserError(f"out={config.out} was given: a sheet of pictures is a .png.")
    folder = find_picture_folder(config.base)
    assert folder is not None
    check_model(folder)
    model = load_picture_model(folder)
    run = config.base if is_run(config.base) else None
    imagined = find_data(config, run)
    parts = read_parts(imagined)
    if parts["train"].shape != model.shape:
        raise UserError(
            f"{config.base} makes pictures of {model.shape.describe()}, and these are of "
            f"{parts['train'].shape.describe()}: give data of its own kind."
        )
    figures: dict[str, Any] = {"base": str(config.base), "measure": model.measure}
    for judge in list_judges(imagined, lambda: model, parts):
        tested = judge.test()
        figures |= tested
        said = ", ".join(f"{name} {value:.3f}" for name, value in tested.items())
        show.line(f"{said} on {judge.items['test']:,} pictures of the test part")
    if model.can_sample and config.judged_samples:
        judged = judge_model(model, parts, config.judged_samples, config.seed, run)
        figures["quality"] = judged.summary
        for line in judged.lines:
            show.line(line)
        if config.out is not None and judged.sheet is not None:
            sheet = judged.sheet
            config.out.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(config.out, encode_sheet(sheet.x, sheet.levels, sheet.columns))
            show.line(f"Nearest training pictures → {config.out}")
    return figures


def find_data(config: EvaluatePicturesConfig, run: Path | None) -> ImagineConfig:
    """What the run was trained on, read as it was there; or what is given, whole as it lies."""
    if run is None:
        if config.data is None:
            raise UserError(
                f"{config.base} is a model without its run: say by data= what pictures to hold it "
                "against."
            )
        return ImagineConfig(data=config.data)
    opened = Run.open(run)
    kept = {name: opened.config[name] for name in ("data", "test", "binarise")}
    if config.data is not None:
        return ImagineConfig(**{**kept, "data": config.data, "test": None})
    start = start_folder(opened.lineage)  # names in its configuration are meant from there
    for name in ("data", "test"):
        if kept[name] is not None and (start / kept[name]).exists():
            kept[name] = str(start / kept[name])
    return ImagineConfig(**kept)
