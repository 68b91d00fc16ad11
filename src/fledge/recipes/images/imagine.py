"""`fledge imagine`: a model learns to make what the data is like."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fledge.algorithms.images.own import OwnImages
from fledge.algorithms.images.protocol import PictureAlgorithm, Sheet
from fledge.algorithms.own import OwnClass
from fledge.images.films import FilmSet
from fledge.images.pictures import PictureSet
from fledge.images.sheet import encode_sheet
from fledge.models.images.encoder import PictureEncoder
from fledge.models.images.next_frame import NextFrame
from fledge.models.images.picture_model import PictureModel, save_picture_model
from fledge.next_command import write_command
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.images.config import ImagineConfig as ImagineConfig
from fledge.recipes.images.counting import check_counted, count_pictures
from fledge.recipes.images.data import is_embedded, read_parts
from fledge.recipes.images.judging import describe_model, judge_target, list_judges
from fledge.recipes.images.next_frames import (
    MAZES,
    describe_plans,
    plan_in_mazes,
)
from fledge.recipes.images.probing import labels_of, measure_yardsticks
from fledge.recipes.images.quality import check_count, judge_model
from fledge.runs.atomic import write_bytes
from fledge.runs.folder import Run
from fledge.runs.model_files import write_model
from fledge.runs.show import Show
from fledge.sample.drawn_pictures import draw_pictures
from fledge.sample.pictures import PictureBatches
from fledge.seeds import generator_for, seed_for
from fledge.splits import Split

VERB = "imagine"


def imagine(config: ImagineConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for data that cannot be read, or is not what the model is of."""
    start = Start(VERB, show, run)
    config = config.composed()
    check_count(config.judged_samples)
    parts = read_parts(config)
    train = parts["train"]
    kind: Any = config.entry.algorithm
    if isinstance(kind, OwnClass):
        kind = OwnImages(kind)
    if getattr(kind, "counted", False):
        check_counted(config)
    torch.manual_seed(seed_for(config.seed, "weights"))
    build_for = getattr(kind, "build_for", None)  # of one that must see what it will learn from
    model = (
        kind.build(config.settings, train.shape)
        if build_for is None
        else build_for(config.settings, train)
    )
    if hasattr(kind, "prepare"):
        kind.prepare(model, train, config.seed)
    target: str | None = getattr(config.settings, "target", None)
    base: str | None = getattr(config, "base", None)  # of a model that is built on another
    parents = [Path(base)] if base else []
    named = [name for name in (config.data, config.test, target) if name]
    files = [name for name in named if not is_embedded(name)]
    with start.begin(config, parents=parents, data=[*files, *config.own_code]) as course:
        if getattr(kind, "counted", False):
            return conclude(config, course, count_pictures(config, course, model, parts), parts)
        model = model.to(config.on())
        batches = PictureBatches(train, config.rows_per_step, config.seed, config.augment)
        typical = PictureBatches(train, config.rows_per_step, config.seed).__next__()
        speed = course.settle_speed(
            config, Learns(model), typical, equal_rows=True,
            share=lambda twin, rows: kind.share(twin.network, rows),
        )  # fmt: skip
        course.say(f"{describe_model(config.model, model, train)}, {speed.describe()}")
        make_learner = partial(config.learner, precision=speed.precision)
        algorithm: PictureAlgorithm = kind(
            config.settings, model, make_learner, config.seed, course.stopwatch
        )
        judges = list_judges(lambda: algorithm.model, parts, config.seed, labels_of(config))
        judges += [judge_target(lambda: algorithm.model, target, train.shape)] if target else []
        unit = "" if model.measure == "none" else getattr(kind, "loss_unit", " nats")
        course.fit(algorithm, batches, judges, figure="loss", figure_unit=unit)
        return conclude(config, course, algorithm, parts)


class Learns(nn.Module):
    """A model of pictures where a policy is asked for: what learns is its network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network


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
    quality, said = judge_all(config, course, model, parts, sheets)
    own: dict[str, Any] = {
        "model": config.model, "measure": model.measure, "parameters": model.count_parameters(),
        "sheets": sheets, **tell_of(algorithm, parts["validation"]), **quality,
    }  # fmt: skip
    lines: list[str] = []
    if course.judges and isinstance(model, PictureEncoder):
        yardsticks = measure_yardsticks(config, model, parts)
        own |= yardsticks.summary
        lines = yardsticks.lines
    if isinstance(model, NextFrame) and config.data == MAZES:
        planned = plan_in_mazes(model, config.seed)
        own |= {"planned": planned}
        lines = [describe_plans(planned)]
    run = course.run.folder
    return course.finish(
        own, held_out=course.judges[0].items if course.judges else None,
        lines=[*list_bits(course, parts, model), *said, *lines],
        then=(
            *([write_command("sample", run, samples=64, out="samples.png")] * model.can_sample),
            write_command("report", run=run),
        ),
    )  # fmt: skip


def judge_all(
    config: ImagineConfig,
    course: Course,
    model: PictureModel,
    parts: Mapping[Split, PictureSet],
    sheets: list[dict[str, str]],
) -> tuple[dict[str, Any], list[str]]:
    """What the summary has of its samples beside real pictures, and what a terminal says; the sheet
    of nearest pictures is put to the others.
    """
    if not model.can_sample or config.judged_samples == 0:
        return {}, []
    folder = course.run.folder
    judged = judge_model(model, parts, config.judged_samples, config.seed, folder)
    if judged.sheet is not None:
        sheets.append(keep_sheet(folder, judged.sheet))
    return ({"quality": judged.summary} if judged.summary else {}), judged.lines


def list_bits(course: Course, parts: Mapping[Split, PictureSet], model: PictureModel) -> list[str]:
    """What the figure is: a bound is never read as a likelihood."""
    said = {
        "exact": "Nats are exact.",
        "bound": "Nats are a bound: the likelihood is not worse than that.",
        "estimate": "Nats are an estimate of the likelihood.",
        "none": "It has no density: look at its samples." if model.can_sample else "",
    }
    return [line for line in (said[model.measure], model.remark) if line]


def tell_of(algorithm: PictureAlgorithm, held_out: PictureSet) -> dict[str, Any]:
    """What the algorithm has to say of its model in the summary, where it has."""
    tell: Any = getattr(algorithm, "summarise", None)
    return {} if tell is None else tell(held_out)


@torch.no_grad()
def draw_all(
    config: ImagineConfig,
    course: Course,
    algorithm: PictureAlgorithm,
    parts: Mapping[Split, PictureSet],
) -> list[dict[str, str]]:
    """Sheets as files in the run, and what each shows, for the report."""
    if config.samples == 0:
        return []
    generator = generator_for(config.seed, "samples", "sheet")
    model, held_out = algorithm.model, parts["validation"]
    listed: list[dict[str, str]] = []

    def keep(name: str, title: str, note: str, x: Any, levels: int, columns: int | None) -> None:
        sheet = Sheet(name, title, note, x, levels, columns)
        listed.append(keep_sheet(course.run.folder, sheet))

    if model.can_sample:
        label = spread_labels(model, config.samples)
        drawn = draw_pictures(model, config.samples, generator, label)
        note = "drawn one by one, none chosen" + ("" if label is None else ", a column a label")
        columns = None if label is None else len(model.shape.names)
        keep("samples", "Samples", note, drawn, model.shape.levels, columns)
    pictures = held_out.as_pictures() if isinstance(held_out, FilmSet) else held_out
    keep(
        "data", "Data", "held-out pictures", pictures.rows.x[: config.samples],
        held_out.shape.levels, None,
    )  # fmt: skip
    for sheet in algorithm.draw_sheets(held_out, generator):
        keep(sheet.name, sheet.title, sheet.note, sheet.x, sheet.levels, sheet.columns)
    return listed


def keep_sheet(folder: Path, sheet: Sheet) -> dict[str, str]:
    """A file of the run.  -> what the summary says of it"""
    file = f"{sheet.name}.png"
    write_bytes(folder / file, encode_sheet(sheet.x, sheet.levels, sheet.columns))
    return {"file": file, "title": sheet.title, "note": sheet.note}


def spread_labels(model: PictureModel, count: int) -> torch.Tensor | None:
    """Every label in turn; None for a model that does not draw by label."""
    if not model.by_label:
        return None
    return torch.arange(count) % len(model.shape.names)
