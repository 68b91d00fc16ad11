"""`fledge ladder mixture`: one small mixture by every method, beside its exact posterior.

The posterior is a sum over every way to share the points out. What a method is judged by is its
density of the next point: half of ∫ |p̂ − p|, 0 where it is exact and 1 where the two have nothing
in common. The method's own time runs, that of judging it does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table
from torch import Tensor

from fledge import __version__
from fledge.algorithms.latent.black_box_vi import BlackBoxVI
from fledge.algorithms.latent.coordinate_ascent import CoordinateAscent
from fledge.algorithms.latent.gaussian_em import GaussianEM
from fledge.algorithms.latent.metropolis import Metropolis
from fledge.errors import UserError
from fledge.exact.conjugate_mixture import Conjugate, ExactPosterior, enumerate_assignments
from fledge.models.latent.targets import SmallMixture
from fledge.report.charts import Series, draw_line_chart
from fledge.report.figures import format_duration
from fledge.report.own_page import check_page, write_page
from fledge.report.page import render_page
from fledge.rows.points import Points, from_array
from fledge.runs.show import Show
from fledge.sample.points import Block, PointBlocks
from fledge.seeds import generator_for

K, DEGREES, MEAN_PRECISION, CONCENTRATION = 2, 2.0, 1.0, 1.0
GRID, DRAWS, IMPORTANCE, CHAINS = 401, 1_000, 10, 64
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


@dataclass(frozen=True)
class Moment:
    """A method when it is looked at: what the next point is like [GRID], and its bound in nats."""

    density: Callable[[], Tensor]
    bound: float | None = None


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


def prior_of(points: Points) -> Conjugate:
    """That of every method here that has one."""
    x = points.x
    spread = x.var(0, correction=0)[:, None]
    return Conjugate(CONCENTRATION, x.mean(0), MEAN_PRECISION, DEGREES, spread)


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


def list_methods(
    config: LadderMixtureConfig, points: Points, grid: Tensor
) -> dict[str, Callable[[], Iterator[Moment]]]:
    black_box = partial(run_black_box, config, points, grid)
    return {
        "EM": partial(run_em, config, points, grid),
        "coordinate ascent": partial(run_ascent, config, points, grid, "cavi"),
        "natural gradients": partial(run_ascent, config, points, grid, "svi"),
        "black box, independent": partial(black_box, family="independent"),
        "black box, by score": partial(black_box, family="independent", estimator="score"),
        "black box, normal": partial(black_box, family="normal"),
        "black box, flow": partial(black_box, family="flow", layers=4, hidden=8),
        "importance-weighted": partial(black_box, family="normal", importance=IMPORTANCE),
        "Metropolis": partial(run_chains, config, points, grid),
    }


def is_looked_at(step: int) -> bool:
    """1, 2, 3, 4, 6, 8, 12, …"""
    return step & (step - 1) == 0 or (step % 3 == 0 and (step // 3) & (step // 3 - 1) == 0)


def run_em(config: LadderMixtureConfig, points: Points, grid: Tensor) -> Iterator[Moment]:
    """The likeliest parameters alone: no uncertainty of them, and no prior."""
    em = GaussianEM(GaussianEM.Settings(k=str(K), floor=1e-2), seed=config.seed)
    for step in range(1, 101):
        figures = em.update(Block(points, 0, 1))
        if is_looked_at(step) or em.done:
            assert em.model is not None
            model = em.model
            bound = figures["elbo"] * len(points)
            yield Moment(lambda model=model: model.log_prob(grid).exp(), bound)
        if em.done:
            break


def run_ascent(
    config: LadderMixtureConfig, points: Points, grid: Tensor, inference: str
) -> Iterator[Moment]:
    settings = CoordinateAscent.Settings.model_validate({
        "k": str(K), "concentration": CONCENTRATION, "degrees": DEGREES, "inference": inference,
        "mean_precision": MEAN_PRECISION, "covariance": "diagonal", "tolerance": 1e-8,
    })  # fmt: skip
    algorithm = CoordinateAscent(settings, seed=config.seed)
    algorithm.begin(points)
    blocks = PointBlocks(points, None if inference == "cavi" else len(points) // 2, config.seed)
    for step in range(1, 257):
        algorithm.update(next(blocks))
        if is_looked_at(step) or algorithm.done:
            model = algorithm.model
            assert model is not None
            moments, density = algorithm.expect(points, model)
            bound = algorithm.measure_terms(model, moments, density)["elbo"]
            yield Moment(lambda model=model: model.log_prob(grid).exp(), bound)
        if algorithm.done:
            break


def run_black_box(
    config: LadderMixtureConfig, points: Points, grid: Tensor, **fields: Any
) -> Iterator[Moment]:
    """Several gradients a look; of importance-weighted q the draws are weighed in groups."""
    given = {"target": "mixture", "components": K, "gradients": 1, "halvings": 1_000, **fields}
    settings = BlackBoxVI.Settings.model_validate(given)
    algorithm = BlackBoxVI(settings, seed=config.seed)
    algorithm.begin(points)
    own = SmallMixture(points, K, alpha=CONCENTRATION, beta=MEAN_PRECISION, degrees=DEGREES)
    algorithm.target = own
    whole, recent = Block(points, 0, 1), 0.0
    slow = config.gradients // 2  # the second half goes down to a tenth of the rate
    assert algorithm.optimizer is not None
    for step in range(1, config.gradients + 1):
        for group in algorithm.optimizer.param_groups:
            group["lr"] = settings.learning_rate * 0.1 ** (max(0, step - slow) / slow)
        recent += 0.05 * (algorithm.update(whole)["elbo"] * len(points) - recent)
        if is_looked_at(step) or step == config.gradients:
            density = partial(mix_draws, algorithm, own, points, grid, settings.importance)
            yield Moment(density, recent / (1 - 0.95**step))


@torch.no_grad()
def mix_draws(
    algorithm: BlackBoxVI, target: SmallMixture, points: Points, grid: Tensor, importance: int
) -> Tensor:
    """The mean over z ~ q of the mixture's density, each group of `importance` draws weighed by
    p / q (Cremer, Morris & Duvenaud 2017).
    """
    assert algorithm.family is not None
    z = algorithm.family.draw(DRAWS, generator_for(algorithm.seed, "evaluation"))
    log_ratio = target.log_joint(z, points) - algorithm.family.log_prob(z)
    share = log_ratio.view(-1, importance).softmax(1).flatten() / (DRAWS // importance)
    return share @ density_of(target, z, grid)


def density_of(target: SmallMixture, z: Tensor, grid: Tensor) -> Tensor:
    """[n, GRID]"""
    return target.log_likelihood_each(z, from_array(grid)).exp()


def run_chains(config: LadderMixtureConfig, points: Points, grid: Tensor) -> Iterator[Moment]:
    """All that the chains have said, but for the first half while the step was sought."""
    target = SmallMixture(points, K, alpha=CONCENTRATION, beta=MEAN_PRECISION, degrees=DEGREES)
    random = generator_for(config.seed, "samples")
    z = torch.randn(CHAINS, target.width, generator=random, dtype=torch.float64)
    chain = Metropolis(partial(target.log_joint, points=points), z, random)
    steps = 4 * config.gradients
    kept: list[Tensor] = []
    for step in range(1, steps + 1):
        chain.step()
        chain.adapting = step < steps // 8
        # a third of what was said is thrown away: the chains came from somewhere else
        kept.append(chain.z)
        if is_looked_at(step) or step == steps:
            some = torch.cat(kept[len(kept) // 3 :])
            some = some[:: max(1, len(some) // (4 * DRAWS))]
            yield Moment(lambda z=some: density_of(target, z, grid).mean(0))


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
