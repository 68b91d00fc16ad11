"""`fledge ladder density`: the same pictures by every model that has a density, each for the same
seconds, on one scale of nats.

Every rung is a run of `fledge imagine` of its own, judged on the same held-out pictures, and said
to be exact, a bound or an estimate. How many steps fit into the seconds is measured on a copy
before it learns.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from fledge import __version__
from fledge.errors import UserError
from fledge.images.binarise import Binarise
from fledge.images.pictures import PictureSet
from fledge.json_file import read_bytes
from fledge.next_command import write_command
from fledge.recipes.course import Summary
from fledge.recipes.images.building import build_model
from fledge.recipes.images.data import read_parts
from fledge.recipes.images.imagine import ImagineConfig, imagine
from fledge.recipes.images.ladder_rungs import RUNGS, Rung
from fledge.report.charts import Series, draw_line_chart
from fledge.report.figures import format_duration
from fledge.report.own_page import check_page, write_page
from fledge.report.page import render_page
from fledge.runs.folder import Run
from fledge.runs.place import free_folder
from fledge.runs.show import Show, silent
from fledge.sample.pictures import PictureBatches
from fledge.stopwatch import Stopwatch

JUDGEMENTS = 8  # of each rung that learns by steps, on its way
TIMED = 3  # steps on a copy, of which the fastest is what a step takes
FEWEST = 8  # steps of a rung
IN_ONE = 4  # lines of a picture


class LadderDensityConfig(BaseModel):
    """Histogram, tree, NADE, MADE, WaveNet, PixelCNN, LSTM, transformers and a VAE on the same
    pictures: nats a picture, bits per dimension, parameters, seconds and a sheet of each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = Field(
        default="digits", description="pictures, as of fledge imagine; small ones take minutes"
    )
    binarise: Binarise = Field(default="none", description="to two levels: hash or threshold")
    rungs: str = Field(
        default="all", description=f"with commas between, of {'; '.join(r.folder for r in RUNGS)}"
    )
    seconds: float = Field(
        default=15.0, gt=0, description="for which each rung learns; what is counted takes one pass"
    )
    samples: int = Field(default=40, ge=1, description="pictures on each sheet")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of every random number")
    runs: Path | None = Field(
        default=None,
        description="folder of the rungs' runs; by default the first free of runs/ladder, …",
    )
    out: Path = Field(default=Path("ladder.html"), description="the page to write, with pictures")


def ladder_density(config: LadderDensityConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for pictures that cannot be read, rungs that there are not, and a page that
    cannot be written.
    """
    began = time.perf_counter()
    rungs = choose_rungs(config.rungs)
    if not config.out.parent.is_dir():
        raise UserError(
            f"out={config.out} cannot be written: there is no folder {config.out.parent}. Make it, "
            "or choose another."
        )
    check_page(config.out, "ladder")
    parts = read_parts(ImagineConfig(data=config.data, binarise=config.binarise))
    folder = free_folder("ladder") if config.runs is None else config.runs
    climbed: list[dict[str, Any]] = []
    with show.progress("ladder", len(rungs), "nats") as watch:
        for rung in rungs:
            climbed.append(climb(rung, config, parts["train"], folder / rung.folder))
            watch.step(len(climbed), {"nats": climbed[-1]["nats"]})
    show.print(draw_table(climbed))
    seconds = time.perf_counter() - began
    write_page(config.out, render(config, climbed, parts["train"], seconds), "ladder")
    show.line(f"The page: {config.out}")
    best = min(climbed, key=lambda one: one["nats"])
    show.line(f"Next: {write_command('sample', best['run'], samples=64, out='samples.png')}")
    return {
        "verb": "ladder density", "page": str(config.out), "rungs": climbed, "seconds": seconds,
    }  # fmt: skip


def choose_rungs(given: str) -> Sequence[Rung]:
    """Raises UserError for one that there is not."""
    if given == "all":
        return RUNGS
    known = {rung.folder: rung for rung in RUNGS}
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in known:
            raise UserError(f"rungs={given} names {name!r}: give some of {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names)]


def climb(
    rung: Rung, config: LadderDensityConfig, train: PictureSet, folder: Path
) -> dict[str, Any]:
    """One rung as a run of its own, and what it came to."""
    given: dict[str, Any] = {
        "model": rung.model, "data": config.data, "binarise": config.binarise, "seed": config.seed,
        "samples": config.samples, "out": folder, "precision": "fp32", "compile": "no",
        **rung.fields,
    }  # fmt: skip
    alone = ImagineConfig.read(given)
    kind: Any = alone.entry.algorithm
    if not getattr(kind, "counted", False):
        steps = max(FEWEST, int(config.seconds / time_step(alone, train)))
        warmup = min(alone.warmup_steps, steps // 10)
        every = max(1, steps // JUDGEMENTS)
        alone = ImagineConfig.read(
            given | {"steps": steps, "warmup_steps": warmup, "evaluate_every": every}
        )
    # Its own lines would hide the ladder's.
    return describe(rung, imagine(alone, Show(silent())), folder)


def time_step(config: ImagineConfig, train: PictureSet) -> float:
    """Seconds of an optimizer step, of a copy that is then forgotten."""
    kind: Any = config.entry.algorithm
    model: Any = build_model(config, kind, train).to(config.on())
    learner = partial(config.learner, precision=config.precision)
    algorithm = kind(config.settings, model, learner, config.seed, Stopwatch())
    batches = PictureBatches(train, config.rows_per_step, config.seed)
    times: list[float] = []
    for _ in range(TIMED):
        began = time.perf_counter()
        algorithm.update(next(batches))
        times.append(time.perf_counter() - began)
    return min(times)


def describe(rung: Rung, summary: Summary, folder: Path) -> dict[str, Any]:
    """nats and bits_per_dim are of the test part, read once. curve: seconds of training, and the
    validation part's nats.
    """
    with closing(Run.open(folder)) as run:
        timings = {row["step"]: row["total"] for row in run.timings.each()}
        judged = [row for row in run.metrics.each() if "validation_nats" in row]
    seconds = [sum(s for step, s in timings.items() if step <= row["step"]) for row in judged]
    return {
        "rung": rung.title, "run": str(folder), "measure": summary["measure"],
        "nats": summary["test"]["nats"], "bits_per_dim": summary["test"]["bits_per_dim"],
        "parameters": summary["parameters"], "steps": summary["steps"], "seconds": seconds[-1],
        "curve": [seconds, [row["validation_nats"] for row in judged]],
    }  # fmt: skip


HEADS = ("rung", "nats", "bits/dim", "measure", "parameters", "seconds")


def list_cells(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        one["rung"], f"{one['nats']:.2f}", f"{one['bits_per_dim']:.4f}", one["measure"],
        f"{one['parameters']:,}", f"{one['seconds']:.1f}",
    )  # fmt: skip


def draw_table(climbed: list[dict[str, Any]]) -> Table:
    table = Table(title="\nThe ladder", title_justify="left", box=None, pad_edge=False)
    for column in HEADS:
        left = column in ("rung", "measure")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    for one in climbed:
        table.add_row(*list_cells(one))
    table.caption = "nats: of a picture of the test part, read once; a bound is no likelihood"
    table.caption_justify = "left"
    return table


def render(
    config: LadderDensityConfig, climbed: list[dict[str, Any]], train: PictureSet, seconds: float
) -> str:
    """The page: the table, nats over seconds, and a sheet of each rung beside the data's."""
    learned = [one for one in climbed if len(one["curve"][0]) > 2]
    pictures = []
    for first in range(0, len(learned), IN_ONE):
        shown = learned[first : first + IN_ONE]
        series = [Series(one["rung"], one["curve"][0][1:], one["curve"][1][1:]) for one in shown]
        caption = " · ".join(f"{one['rung']} {one['curve'][1][-1]:.2f}" for one in shown)
        svg = draw_line_chart(
            series, x_label="seconds of training", description=f"Nats of a picture: {caption}"
        )
        pictures.append({"legend": [one["rung"] for one in shown], "caption": caption, "svg": svg})
    sheets = [
        {"title": one["rung"], "note": f"{one['nats']:.2f} nats, {one['measure']}", "url": url}
        for one in climbed
        if (url := encode_sheet_of(one["run"], "samples.png"))
    ]
    data = encode_sheet_of(climbed[0]["run"], "data.png")
    sheets.insert(0, {"title": "data", "note": "held-out pictures", "url": data})
    content = {
        "title": "ladder density", "heads": HEADS, "pictures": pictures, "sheets": sheets,
        "rows": [list_cells(one) for one in climbed],
        "tiles": [
            ("pictures", f"{config.data}, {train.shape.describe()}"),
            ("learned from", f"{len(train):,}"),
            ("each rung", f"{config.seconds:g} s"),
            ("threads", str(torch.get_num_threads())),
            ("time", format_duration(seconds)),
            ("fledge", __version__),
        ],
    }  # fmt: skip
    return render_page("fledge.report", "ladder_density.html.jinja", content)


def encode_sheet_of(run: str, name: str) -> str:
    data = base64.b64encode(read_bytes(Path(run) / name)).decode("ascii")
    return f"data:image/png;base64,{data}"
