"""What `fledge imagine` ends with: the model in its folder, sheets of what it makes, what they are
worth, and what there is to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fledge.algorithms.images.protocol import PictureAlgorithm, Sheet
from fledge.images.sheet import encode_sheet
from fledge.models.images.encoder import PictureEncoder
from fledge.models.images.next_frame import NextFrame
from fledge.models.images.picture_model import PictureModel, save_picture_model
from fledge.next_command import write_command
from fledge.recipes.course import Course, Summary
from fledge.recipes.images.config import ImagineConfig
from fledge.recipes.images.next_frames import MAZES, describe_plans, plan_in_mazes
from fledge.recipes.images.probing import measure_yardsticks
from fledge.recipes.images.quality import judge_model
from fledge.runs.atomic import write_bytes
from fledge.runs.model_files import write_model
from fledge.sample.drawn_pictures import draw_pictures
from fledge.seeds import generator_for
from fledge.splits import Split

MEASURED = {
    "exact": "Nats are exact.",
    "bound": "Nats are a bound: the likelihood is not worse than that.",
    "estimate": "Nats are an estimate of the likelihood.",
}
MOST_NARROW = 230  # pixels across that a third of a page can show
Parts = Mapping[Split, Any]


def conclude(
    config: ImagineConfig, course: Course, algorithm: PictureAlgorithm, parts: Parts
) -> Summary:
    model = algorithm.model.cpu().eval()
    with write_model(course.run.model_folder) as folder:
        save_picture_model(folder, model)
    tell: Any = getattr(algorithm, "summarise", dict)
    own: dict[str, Any] = {
        "model": config.model, "measure": model.measure, "parameters": model.count_parameters(),
        "sheets": draw_all(config, course, algorithm, parts),
        **(tell(parts["validation"]) if tell is not dict else {}),
    }  # fmt: skip
    lines = [line for line in (describe_measure(model), model.remark) if line]
    lines += tell_of_kind(config, course, model, parts, own)
    run = course.run.folder
    return course.finish(
        own, held_out=course.judges[0].items if course.judges else None, lines=lines,
        then=(
            write_command("sample", run, samples=64, out="samples.png"),
            write_command("report", run=run),
        )
        if model.can_sample
        else write_command("report", run=run),
    )  # fmt: skip


def describe_measure(model: PictureModel) -> str:
    """What the figure is: a bound is never read as a likelihood."""
    if model.measure == "none":
        return "It has no density: look at its samples." if model.can_sample else ""
    return MEASURED[model.measure]


def tell_of_kind(
    config: ImagineConfig, course: Course, model: PictureModel, parts: Parts, own: dict[str, Any]
) -> list[str]:
    """What is said of some models alone; what the summary has of it is put to `own`. Of what draws:
    its samples beside real pictures. Of what encodes: pixels and weights that nothing has taught.
    Of the next frame: plans made with it.
    """
    if course.judges and isinstance(model, PictureEncoder):
        yardsticks = measure_yardsticks(config, model, parts)
        own |= yardsticks.summary
        return yardsticks.lines
    if isinstance(model, NextFrame) and config.data == MAZES:
        own["planned"] = plan_in_mazes(model, config.seed)
        return [describe_plans(own["planned"])]
    if not model.can_sample or config.judged_samples == 0:
        return []
    folder = course.run.folder
    judged = judge_model(model, parts, config.judged_samples, config.seed, folder)
    if judged.sheet is not None:
        own["sheets"].append(keep_sheet(folder, judged.sheet))
    if judged.summary:
        own["quality"] = judged.summary
    return judged.lines


@torch.no_grad()
def draw_all(
    config: ImagineConfig, course: Course, algorithm: PictureAlgorithm, parts: Parts
) -> list[dict[str, str]]:
    """Sheets as files in the run, and what each shows, for the report."""
    if config.samples == 0:
        return []
    generator = generator_for(config.seed, "samples", "sheet")
    model: PictureModel = algorithm.model
    held_out: Any = parts["validation"]
    sheets: list[Sheet] = []
    if model.can_sample:
        label = spread_labels(model, config.samples)
        drawn = draw_pictures(model, config.samples, generator, label)
        note = "drawn one by one, none chosen" + ("" if label is None else ", a column a label")
        columns = None if label is None else len(model.shape.names)
        sheets.append(Sheet("samples", "Samples", note, drawn, model.shape.levels, columns))
    shown = held_out.as_pictures().rows.spread(config.samples).x
    sheets.append(Sheet("data", "Data", "held-out pictures", shown, held_out.shape.levels))
    sheets += algorithm.draw_sheets(held_out, generator)
    return [keep_sheet(course.run.folder, sheet) for sheet in sheets]


def keep_sheet(folder: Path, sheet: Sheet) -> dict[str, Any]:
    """A file of the run.  -> what the summary says of it"""
    file = f"{sheet.name}.png"
    write_bytes(folder / file, encode_sheet(sheet.x, sheet.levels, sheet.columns))
    wide = (sheet.columns or 1) * sheet.x.shape[3] > MOST_NARROW
    return {"file": file, "title": sheet.title, "note": sheet.note, "wide": wide}


def spread_labels(model: PictureModel, count: int) -> torch.Tensor | None:
    """Every label in turn; None for a model that does not draw by label."""
    if not model.by_label:
        return None
    return torch.arange(count) % len(model.shape.names)
