"""`fledge control compare=ppo,dqn,…`: several algorithms, several seeds, one picture with
intervals. Every run is a run of its own.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from fledge.errors import UserError
from fledge.evaluate.interquartile import interquartile_mean, interval
from fledge.loop import Interrupted
from fledge.recipes.carry_on import run_inside
from fledge.recipes.control.agent_run import prepare, train_agent
from fledge.recipes.control.config import ControlConfig, choose, split_names
from fledge.recipes.course import Summary
from fledge.report.report import write_report
from fledge.runs.folder import Allowed, Run
from fledge.runs.show import Show

Evaluations = list[dict[str, Any]]


def compare(config: ControlConfig, show: Show, run: Run | None) -> Summary:
    """A comparison that is continued skips what is finished. Raises UserError, before anything is
    trained, for settings that do not go together in one of them.
    """
    names = split_names(config.compare or "")
    for name in names:
        prepare(choose(config, name))
    if len(set(map(name_folder, names))) != len(names):
        raise UserError(
            f"compare={config.compare} names an algorithm twice: seeds={config.seeds} runs each of "
            "them that often."
        )
    if run is not None:
        return compare_in(run, names, config, show)
    with Run.create(
        config.out, "control", config.model_dump(mode="json"), seed=config.seed
    ) as made:
        return compare_in(made, names, config, show)


def compare_in(run: Run, names: list[str], config: ControlConfig, show: Show) -> Summary:
    """Every algorithm with every seed, each a run inside of `run`, and what they came to."""
    every = config.steps_between_evaluations
    grid = np.append(np.arange(0, config.steps, every or config.steps), config.steps)
    summaries: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    curves: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for seed in range(config.seed, config.seed + config.seeds):
        for name in names:
            folder = run.folder / f"{name_folder(name)}-{seed}"
            alone = choose(config, name, seed=seed, out=folder, evaluate_every=every)
            try:
                summary, rows = train_or_read(alone, folder, show, run.allowed)
            except Interrupted as stopped:
                raise stopped.of(str(run.folder)) from None
            summaries[name].append(summary)
            curves[name].append(align_to_grid(rows, grid))
    summary = summarise(
        config, run, summaries, {name: np.stack(each) for name, each in curves.items()}, grid
    )
    run.finish(summary)
    page = write_report(run.folder)
    show.print(draw_comparison_table(summary))
    show.line(f"The report:   {page}")
    return summary


def name_folder(algorithm: str) -> str:
    """Of an algorithm's runs, seed by seed: a file of the user's may lie anywhere, its runs lie in
    the comparison.
    """
    return Path(algorithm).name.replace(":", "-")


def train_or_read(
    config: ControlConfig, folder: Path, show: Show, allowed: Allowed
) -> tuple[Summary, Evaluations]:
    """Summary and evaluations of one agent: read if it is finished, continued if it was begun, else
    trained.
    """
    summary = run_inside(folder, lambda run: train_agent(config, show, run), show, allowed)
    with closing(Run.open(folder)) as finished:
        return summary, [row for row in finished.metrics.each() if "evaluation_return" in row]


def align_to_grid(rows: Evaluations, grid: np.ndarray) -> np.ndarray:
    """The last evaluation at or before each number of world steps; a batch that overshoots it by
    less than half a gap counts for it, and for the last number whatever came last.
    """
    judged = [
        (row["world_steps"], row["evaluation_return"]) for row in rows if "evaluation_return" in row
    ]
    latest = np.append((grid[:-1] + grid[1:]) / 2, np.inf)
    return np.array(
        [[value for steps, value in judged if steps <= at][-1] for at in latest], dtype=np.float64
    )


def summarise(
    config: Any,
    run: Run,
    summaries: dict[str, list[dict[str, Any]]],
    curves: dict[str, np.ndarray],
    grid: np.ndarray,
) -> dict[str, Any]:
    compared = {}
    for name, returns in curves.items():
        low, high = interval(returns)
        compared[name] = {
            "world_steps": grid.tolist(),
            "return": interquartile_mean(returns).tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
            "last": returns[:, -1].tolist(),
            "seconds": float(np.median([each["seconds"] for each in summaries[name]])),
        }
    return {
        "verb": "control",
        "run": str(run.folder),
        "world": config.world,
        "steps": config.steps,
        "seeds": config.seeds,
        "seconds": sum(each["seconds"] for own in summaries.values() for each in own),
        "compared": compared,
    }


def draw_comparison_table(summary: dict[str, Any]) -> Table:
    """Every algorithm at the end: interquartile mean, interval, and what each seed came to."""
    seeds = summary["seeds"]
    table = Table(
        title=f"\n{summary['world']} after {summary['steps']:,} steps, {seeds} seeds",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column, justify in (
        ("algorithm", "left"),
        ("return", "right"),
        ("95% bootstrap", "right"),
        ("seconds", "right"),
        ("each seed", "left"),
    ):
        table.add_column(column, justify=justify)  # pyright: ignore[reportArgumentType]
    if seeds < 5:
        table.caption, table.caption_justify = (
            "Of so few seeds a bootstrap interval is too narrow: give seeds=5 or more.",
            "left",
        )
    ranked = sorted(summary["compared"].items(), key=lambda item: -item[1]["return"][-1])
    for name, one in ranked:
        table.add_row(
            name,
            f"{one['return'][-1]:.1f}",
            f"{one['low'][-1]:.1f} to {one['high'][-1]:.1f}",
            f"{one['seconds']:.1f}",
            " ".join(f"{value:.0f}" for value in one["last"]),
        )
    return table
