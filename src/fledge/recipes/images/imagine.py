"""`fledge imagine`: a model learns to make what the data is like."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fledge.algorithms.images.own import OwnImages
from fledge.algorithms.images.protocol import PictureAlgorithm
from fledge.algorithms.own import OwnClass
from fledge.images.pictures import PictureSet
from fledge.images.sheet import encode_sheet
from fledge.models.images.picture_model import PictureModel, save_picture_model
from fledge.next_command import write_command
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.images.config import ImagineConfig as ImagineConfig
from fledge.recipes.images.data import read_parts
from fledge.recipes.images.judging import judge_pictures
from fledge.recipes.training import count_parameters
from fledge.runs.atomic import write_bytes
from fledge.runs.folder import Run
from fledge.runs.model_files import write_model
from fledge.runs.show import Show
from fledge.sample.pictures import PictureBatches
from fledge.seeds import generator_for, seed_for
from fledge.splits import Split

VERB = "imagine"


def imagine(config: ImagineConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for data that cannot be read, or is not what the model is of."""
    start = Start(VERB, show, run)
    config = config.composed()
    parts = read_parts(config)
    train = parts["train"]
    kind: Any = config.entry.algorithm
    if isinstance(kind, OwnClass):
        kind = OwnImages(kind)
    torch.manual_seed(seed_for(config.seed, "weights"))
    model = kind.build(config.settings, train.shape)
    data = [config.data, *([config.test] if config.test else []), *config.own_code]
    base = getattr(config, "base", None)  # of a model that is built on another
    parents = [Path(base)] if base else []
    data = [name for name in data if name != "digits"]
    with start.begin(config, parents=parents, data=data) as course:
        model = model.to(config.on())
        batches = PictureBatches(train, config.rows_per_step, config.seed, config.augment)
        typical = PictureBatches(train, config.rows_per_step, config.seed).__next__()
        speed = course.settle_speed(
            config, Learns(model), typical, equal_rows=True,
            share=lambda twin, rows: kind.share(twin.network, rows),
        )  # fmt: skip
        course.say(f"{describe(config, model, train)}, {speed.describe()}")
        make_learner = partial(config.learner, precision=speed.precision)
        algorithm: PictureAlgorithm = kind(
            config.settings, model, make_learner, config.seed, course.stopwatch
        )
        judges = []
        if model.measure != "none":
            judges = [judge_pictures(lambda: algorithm.model, parts, config.seed)]
        course.fit(
            algorithm,
            batches,
            judges,
            figure="loss",
            figure_unit=getattr(kind, "loss_unit", " nats"),
        )
        return conclude(config, course, algorithm, parts)


class Learns(nn.Module):
    """A model of pictures where a policy is asked for: what learns is its network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network


def describe(config: ImagineConfig, model: PictureModel, train: PictureSet) -> str:
    labels = f" with {len(train.shape.names)} labels" if train.labelled else ""
    return (
        f"{config.model} of {count_parameters(model):,} parameters on {len(train):,} pictures of "
        f"{train.shape.describe()}{labels}"
    )


def conclude(
    config: ImagineConfig,
    course: Course,
    algorithm: PictureAlgorithm,
    parts: Mapping[Split, PictureSet],
) -> Summary:
    """The model in its folder, sheets of what it makes, and what to do next."""
    model = algorithm.model.cpu().eval()
    with write_model(course.run.model_folder) as folder:
        save_picture_model(folder, model)
    sheets = draw_all(config, course, algorithm, parts)
    own: dict[str, Any] = {
        "model": config.model, "measure": model.measure, "parameters": model.count_parameters(),
        "sheets": sheets,
    }  # fmt: skip
    run = course.run.folder
    return course.finish(
        own, held_out=course.judges[0].items if course.judges else None,
        lines=list_bits(course, parts, model),
        then=(
            write_command("sample", run, samples=64, out="samples.png"),
            write_command("report", run=run),
        ),
    )  # fmt: skip


def list_bits(course: Course, parts: Mapping[Split, PictureSet], model: PictureModel) -> list[str]:
    """What the figure is: a bound is never read as a likelihood."""
    said = {
        "exact": "Nats are exact.",
        "bound": "Nats are a bound: the likelihood is not worse than that.",
        "estimate": "Nats are an estimate of the likelihood.",
        "none": "It has no density: look at its samples.",
    }
    return [said[model.measure]]


@torch.no_grad()
def draw_all(
    config: ImagineConfig,
    course: Course,
    algorithm: PictureAlgorithm,
    parts: Mapping[Split, PictureSet],
) -> list[dict[str, str]]:
    """Sheets as files in the run, and what each shows, for the report."""
    if config.samples == 0 or not algorithm.model.can_sample:
        return []
    generator = generator_for(config.seed, "samples", "sheet")
    model, held_out = algorithm.model, parts["validation"]
    label = spread_labels(model, config.samples)
    drawn = model.sample(config.samples, generator, label)
    listed: list[dict[str, str]] = []

    def keep(name: str, title: str, note: str, x: Any, levels: int, columns: int | None) -> None:
        write_bytes(course.run.folder / f"{name}.png", encode_sheet(x, levels, columns))
        listed.append({"file": f"{name}.png", "title": title, "note": note})

    note = "drawn one by one, none chosen" + ("" if label is None else ", a column a label")
    columns = None if label is None else len(model.shape.names)
    keep("samples", "Samples", note, drawn, model.shape.levels, columns)
    keep(
        "data", "Data", "held-out pictures", held_out.rows.x[: config.samples],
        held_out.shape.levels, None,
    )  # fmt: skip
    for sheet in algorithm.draw_sheets(held_out, generator):
        keep(sheet.name, sheet.title, sheet.note, sheet.x, sheet.levels, sheet.columns)
    return listed


def spread_labels(model: PictureModel, count: int) -> torch.Tensor | None:
    """Every label in turn; None for a model that does not draw by label."""
    if not model.by_label:
        return None
    return torch.arange(count) % len(model.shape.names)
