"""`fledge ladder gridworld`: one gridworld by linear algebra, by sweeps, by tables, by policy
gradients and by networks.

Every rung's policy is judged exactly: V^π by a linear solve, beside V*. What learns from samples is
judged as samples go by.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table
from torch import Tensor

from fledge import __version__
from fledge.errors import UserError
from fledge.plan.bellman import Solution
from fledge.plan.dynamic_programming import (
    gauss_seidel,
    prioritised_sweeping,
    q_value_iteration,
    value_iteration,
)
from fledge.plan.policy_iteration import policy_iteration, policy_value
from fledge.recipes.control.builders import Making
from fledge.recipes.control.config import ControlConfig, fill_in
from fledge.recipes.control.kinds import find_kind
from fledge.recipes.pacing import by_world_steps
from fledge.report.charts import Series, draw_line_chart
from fledge.report.figures import format_duration
from fledge.report.grid_picture import draw_grid, draw_in_terminal
from fledge.report.own_page import check_page, write_page
from fledge.report.page import render_page
from fledge.runs.show import Show
from fledge.stopwatch import Stopwatch
from fledge.worlds.gridworld import CLASSIC, Gridworld, read_gridworld
from fledge.worlds.mdp import MDP
from fledge.worlds.mdp_world import MDPWorld

EXACT: dict[str, Callable[..., Solution]] = {
    "policy iteration": policy_iteration,
    "value iteration": value_iteration,
    "Q-value iteration": q_value_iteration,
    "Gauss–Seidel": gauss_seidel,
    "prioritised sweeping": prioritised_sweeping,
}
PICTURES = {
    "Tables": ("q_learning", "sarsa", "expected_sarsa", "monte_carlo"),
    "Policy gradients and networks": ("reinforce", "a2c", "trpo", "ppo", "dqn"),
}
JUDGEMENTS = 40  # of each learner, evenly over its samples
TIME_LIMIT = 200  # steps of an episode


class LadderConfig(BaseModel):
    """The same gridworld solved exactly and learned from samples, each rung with its distance to
    the exact answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    world: str = Field(
        default="gridworld",
        description=(
            "gridworld, the classic 4 × 3 one, or a text file with a map of '.', '#', 'S', '+' and "
            "'-'"
        ),
    )
    step_reward: float = Field(default=-0.04, ge=-1e6, le=1e6, description="what each step pays")
    slip: float = Field(
        default=0.2, ge=0, le=1, description="the chance of going to one of the two sides"
    )
    gamma: float = Field(default=0.99, gt=0, lt=1, description="discount per step")
    samples: int = Field(
        default=40_000, ge=1_000, description="steps in the world for each learner"
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of every random number")
    out: Path = Field(default=Path("ladder.html"), description="the page to write, with pictures")


def ladder(config: LadderConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a map that is none, and a folder that is not there."""
    if not config.out.parent.is_dir():
        raise UserError(
            f"out={config.out} cannot be written: there is no folder {config.out.parent}. Make it, "
            "or choose another."
        )
    check_page(config.out, "ladder")
    began = time.perf_counter()
    grid = read_gridworld(
        read_map(config.world), step_reward=config.step_reward, slip=config.slip, gamma=config.gamma
    )
    mdp = grid.mdp()
    best = policy_iteration(mdp)
    show.print(draw_in_terminal(grid, *lay_on_map(grid, best)))
    exact, learned = [], []
    names = [name for names in PICTURES.values() for name in names]
    with show.progress("ladder", len(EXACT) + len(names), "lost") as watch:
        for name, solve in EXACT.items():
            start = time.perf_counter()
            solution = solve(mdp)
            lost, lost_at_worst = measure_loss(mdp, solution.policy, best.value)
            exact.append({
                "method": name,
                "samples": 0,
                "sweeps": solution.sweeps,
                "distance": float((solution.value - best.value).abs().max()),
                "lost": lost,
                "lost_at_worst": lost_at_worst,
                "seconds": time.perf_counter() - start,
            })  # fmt: skip
            watch.step(len(exact), {"lost": exact[-1]["lost"]})
        for name in names:
            learned.append(climb(name, config, mdp, best.value))
            watch.step(len(exact) + len(learned), {"lost": learned[-1]["lost"]})
    show.print(draw_ladder_table(exact, learned))
    write_page(
        config.out,
        render_ladder(config, grid, best, exact, learned, time.perf_counter() - began),
        "ladder",
    )
    show.line(f"The page: {config.out}")
    return {
        "verb": "ladder",
        "page": str(config.out),
        "exact": exact,
        "learned": learned,
        "seconds": time.perf_counter() - began,
    }


def read_map(world: str) -> str:
    """Raises UserError for a file that cannot be read."""
    world = world.removeprefix("gridworld:")  # as `fledge control` names it
    if world == "gridworld":
        return CLASSIC
    try:
        return Path(world).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the map {world} cannot be read ({error}): give `gridworld`, or a text file with '.', "
            "'#', 'S', '+' and '-'."
        ) from error


def lay_on_map(grid: Gridworld, solution: Solution) -> tuple[Tensor, Tensor]:
    """V* and the best actions where they belong, −1 where there is nothing to do.  -> [H, W], [H,
    W]
    """
    policy = grid.on_map(solution.policy, -1)
    return grid.on_map(solution.value, 0.0), torch.where(grid.exits, -1, policy)


def measure_loss(mdp: MDP, policy: Tensor, best: Tensor) -> tuple[float, float]:
    """V* − V^π from where episodes start, and in the worst state, which a good policy may never
    see.  policy [S] long
    """
    lost = best - policy_value(mdp, policy)
    return float(mdp.start @ lost), float(lost.max())


def climb(name: str, config: LadderConfig, mdp: MDP, best: Tensor) -> dict[str, Any]:
    """One learner in the world, its greedy policy judged exactly as samples go by."""
    began = time.perf_counter()
    kind, stopwatch = find_kind(name), Stopwatch()
    given = ControlConfig.read(
        {
            "algorithm": name,
            "world": "gridworld",
            "steps": config.samples,
            "seed": config.seed,
            "gamma": config.gamma,
            "copies": 8,
        }
    )
    run = fill_in(given, kind, "tables")
    world = MDPWorld(mdp, run.copies, time_limit=TIME_LIMIT, name="gridworld")
    making = Making(world, run, stopwatch, torch.device("cpu"))
    built = kind.build(making, making.settings)
    sampler: Any = kind.sampler(world, built, stopwatch, run)
    algorithm = by_world_steps(built.algorithm, making.paces)
    every, states = config.samples / JUDGEMENTS, torch.arange(mdp.states)
    steps, lost, due = [0], [measure_loss(mdp, built.player.best(states), best)], every
    while sampler.taken < config.samples:
        algorithm.update(next(sampler))
        if sampler.taken >= due:
            steps.append(sampler.taken)
            lost.append(measure_loss(mdp, built.player.best(states), best))
            due = sampler.taken + every
    return {
        "method": name,
        "samples": sampler.taken,
        "curve": [steps, [start for start, _ in lost]],
        "lost": lost[-1][0],
        "lost_at_worst": lost[-1][1],
        "seconds": time.perf_counter() - began,
    }


def draw_ladder_table(exact: list[dict[str, Any]], learned: list[dict[str, Any]]) -> Table:
    """Every rung: what it cost, and how far its policy is from the best."""
    table = Table(title="\nThe ladder", title_justify="left", box=None, pad_edge=False)
    for column in ("method", "samples", "sweeps", "values off by", "loses", "at worst", "seconds"):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for one in [*exact, *learned]:
        table.add_row(
            one["method"],
            f"{one['samples']:,}",
            f"{one['sweeps']:.0f}" if "sweeps" in one else "",
            f"{one['distance']:.0e}" if "distance" in one else "",
            f"{one['lost']:.4f}",
            f"{one['lost_at_worst']:.4f}",
            f"{one['seconds']:.3f}" if one["seconds"] < 0.1 else f"{one['seconds']:.1f}",
        )
    table.caption = (
        "loses: V* − V^π of the greedy policy from where episodes start; at worst: in any state, "
        "also one it never sees"
    )
    table.caption_justify = "left"
    return table


def render_ladder(
    config: LadderConfig,
    grid: Gridworld,
    best: Solution,
    exact: list[dict[str, Any]],
    learned: list[dict[str, Any]],
    seconds: float,
) -> str:
    curves = {one["method"]: one["curve"] for one in learned}
    pictures = []
    for title, names in PICTURES.items():
        series = [Series(name, *curves[name]) for name in names]
        caption = " · ".join(f"{name} {curves[name][1][-1]:.3f}" for name in names)
        svg = draw_line_chart(
            series,
            x_label="steps in the world",
            description=f"{title}: distance to V*: {caption}",
            low=0.0,
        )
        pictures.append(
            {
                "title": title,
                "unit": "V* − V^π from the start",
                "legend": names,
                "caption": caption,
                "svg": svg,
            }
        )
    content = {
        "title": f"ladder {config.world}",
        "map": base64.b64encode(draw_grid(grid, *lay_on_map(grid, best)).encode()).decode(),
        "pictures": pictures,
        "exact": exact,
        "learned": learned,
        "tiles": [
            ("states", f"{grid.mdp().states:,}"),
            ("step reward", f"{config.step_reward:g}"),
            ("slip", f"{config.slip:g}"),
            ("discount", f"{config.gamma:g}"),
            ("time", format_duration(seconds)),
            ("fledge", __version__),
        ],
    }
    return render_page("fledge.report", "ladder.html.jinja", content)
