"""`fledge ladder mixture`: one small mixture by every method, beside its exact posterior.

The posterior is a sum over every way to share the points out. What a method is judged by is its
density of the next point: half of ∫ |p̂ − p|, 0 where it is exact and 1 where the two have nothing
in common. The method's own time runs, that of judging it does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table
from torch import Tensor

from fledge import __version__
from fledge.errors import UserError
from fledge.exact.conjugate_mixture import ExactPosterior, enumerate_assignments
from fledge.recipes.latent.ladder_methods import K, Moment, list_methods, prior_of
from fledge.report.charts import Series, draw_line_chart
from fledge.report.figures import format_duration
from fledge.report.own_page import check_page, write_page
from fledge.report.page import render_page
from fledge.rows.points import Points, from_array
from fledge.runs.show import Show
from fledge.seeds import generator_for

GRID = 401  # places at which a density is judged
FIRST = 1e-4  # seconds, where the pictures begin


class LadderMixtureConfig(BaseModel):
    """The same small mixture by EM, by variational inference of every kind and by Markov chains,
    each with its distance to the exact posterior over its seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    points: int = Field(
        default=8, ge=2, le=12, description="of one column; 2^points assignments are enumerated"
    )
    apart: float = Field(
        default=3.0, ge=0, le=100, description="the two clusters' distance, in their deviations"
    )
    gradients: int = Field(
        default=600, ge=10, le=100_000, description="optimizer steps of black-box methods"
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of every random number")
    out: Path = Field(default=Path("ladder.html"), description="the page to write, with pictures")


def ladder_mixture(config: LadderMixtureConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a page that cannot be written."""
    if not config.out.parent.is_dir():
        raise UserError(
            f"out={config.out} cannot be written: there is no folder {config.out.parent}. Make it, "
            "or choose another."
        )
    check_page(config.out, "ladder")
    began = time.perf_counter()
    points = draw_points(config)
    exact = enumerate_assignments(points.x, prior_of(points), K)
    grid = choose_grid(points)
    wanted = exact.density(grid)
    enumerated = time.perf_counter() - began
    show.line(f"log p(x) = {exact.log_evidence:.4f} nats, over {K**config.points:,} assignments")
    methods = list_methods(config, points, grid)
    next(methods["black box, independent"]())  # the first gradient of a process loads much
    rungs = []
    with show.progress("ladder", len(methods), "distance") as watch:
        for name, method in methods.items():
            rungs.append(climb(name, method, grid, wanted))
            watch.step(len(rungs), {"distance": rungs[-1]["distance"]})
    show.print(draw_table(rungs, exact, enumerated))
    seconds = time.perf_counter() - began
    write_page(config.out, render(config, rungs, exact, enumerated, seconds), "ladder")
    show.line(f"The page: {config.out}")
    return {
        "verb": "ladder mixture", "page": str(config.out), "log_evidence": exact.log_evidence,
        "exact_seconds": enumerated, "rungs": rungs, "seconds": seconds,
    }  # fmt: skip


def draw_points(config: LadderMixtureConfig) -> Points:
    """Half of them of each cluster."""
    random = generator_for(config.seed, "data")
    side = torch.arange(config.points) % 2 - 0.5
    noise = torch.randn(config.points, generator=random, dtype=torch.float64)
    return from_array((noise + config.apart * side)[:, None])


def choose_grid(points: Points) -> Tensor:
    """[GRID, 1]"""
    middle, wide = float(points.x.mean()), 10 * float(points.x.std())
    return torch.linspace(middle - wide, middle + wide, GRID, dtype=torch.float64)[:, None]


def climb(
    name: str, method: Callable[[], Iterator[Moment]], grid: Tensor, wanted: Tensor
) -> dict[str, Any]:
    """One method, judged whenever it yields."""
    cell = float(grid[1, 0] - grid[0, 0])
    seconds, times, distances, bound = 0.0, [], [], None
    began = time.perf_counter()
    for moment in method():
        seconds += time.perf_counter() - began
        times.append(seconds)
        distances.append(0.5 * float((moment.density() - wanted).abs().sum()) * cell)
        bound = moment.bound
        began = time.perf_counter()
    return {
        "method": name, "seconds": seconds, "distance": distances[-1], "bound": bound,
        "curve": [times, distances],
    }  # fmt: skip


def draw_table(rungs: list[dict[str, Any]], exact: ExactPosterior, seconds: float) -> Table:
    table = Table(title="\nThe ladder", title_justify="left", box=None, pad_edge=False)
    for column in ("method", "distance", "bound", "below log p(x)", "seconds"):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    table.add_row("every assignment", "0", f"{exact.log_evidence:.3f}", "0", f"{seconds:.3f}")
    for one in rungs:
        table.add_row(*describe(one, exact))
    table.caption = (
        "distance: ½ ∫ |p̂ − p| of the next point's density; EM's bound is a likelihood, not one "
        "on log p(x)"
    )
    table.caption_justify = "left"
    return table


def describe(one: dict[str, Any], exact: ExactPosterior) -> tuple[str, ...]:
    bound = one["bound"]
    below = ""
    if bound is not None and one["method"] != "EM":
        below = f"{exact.log_evidence - bound:.3f}"
    return (
        one["method"],
        f"{one['distance']:.4f}",
        "" if bound is None else f"{bound:.3f}",
        below,
        f"{one['seconds']:.3f}",
    )


def render(
    config: LadderMixtureConfig, rungs: list[dict[str, Any]], exact: ExactPosterior,
    enumerated: float, seconds: float,
) -> str:  # fmt: skip
    """The page: two pictures of distance over seconds, and the table."""
    curves = {one["method"]: one["curve"] for one in rungs}
    families = [name for name in curves if name.startswith(("black box", "importance"))]
    others = [name for name in curves if name not in families]
    pictures = []
    for title, names in {
        "In closed form, and by chains": others, "Black box": families,
    }.items():  # fmt: skip
        series = [
            Series(name, [math.log10(max(FIRST, t)) for t in curves[name][0]], curves[name][1])
            for name in names
        ]
        caption = " · ".join(f"{name} {curves[name][1][-1]:.3f}" for name in names)
        svg = draw_line_chart(
            series, x_label="log₁₀ seconds", low=0.0,
            description=f"{title}: distance to the exact posterior: {caption}",
        )  # fmt: skip
        pictures.append({
            "title": title, "unit": "½ ∫ |p̂ − p|", "legend": names, "caption": caption, "svg": svg,
        })  # fmt: skip
    rows = [("every assignment", "0", f"{exact.log_evidence:.3f}", "0", f"{enumerated:.3f}")]
    content = {
        "title": "ladder mixture",
        "pictures": pictures,
        "rows": rows + [describe(one, exact) for one in rungs],
        "tiles": [
            ("points", str(config.points)),
            ("assignments", f"{K**config.points:,}"),
            ("log p(x)", f"{exact.log_evidence:.3f} nats"),
            ("time", format_duration(seconds)),
            ("fledge", __version__),
        ],
    }
    return render_page("fledge.report", "ladder_mixture.html.jinja", content)
