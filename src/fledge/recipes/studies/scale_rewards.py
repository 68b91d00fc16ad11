"""The law of reward under reinforcement learning: runs of `align` or `control` that there are, and
where a curve over all their compute ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from fledge.data_names import split_names
from fledge.errors import UserError
from fledge.evaluate.scaling.bootstrap import Interval
from fledge.evaluate.scaling.law import Array
from fledge.evaluate.scaling.saturation import Saturation, fit_saturation
from fledge.recipes.studies.scale_fields import ScaleConfig
from fledge.report.figures import is_share
from fledge.report.reward_law_page import RewardHeld, draw_reward_law
from fledge.report.scaling_page import write_number
from fledge.report.show_page import check_show_page, write_show_page
from fledge.runs.folder import Run
from fledge.runs.metrics import read_log
from fledge.runs.shapes import FiguresRecord
from fledge.runs.show import Show

LAST = 0.1  # of the compute: the rows whose mean is foretold from the first half


@dataclass(frozen=True)
class Rewards:
    """compute: of each row, from the run's beginning on.  [n]. unit: of it. runs: how many."""

    compute: Array
    reward: Array
    unit: str
    runs: int

    def take(self, kept: np.ndarray) -> Rewards:
        return Rewards(self.compute[kept], self.reward[kept], self.unit, self.runs)


def fit_rewards(run: Run, config: ScaleConfig, show: Show) -> dict[str, Any]:
    """The curve, what it says beyond, its page and the summary."""
    page = run.folder / "report.html"
    check_show_page(page)
    rewards = read_rewards(split_names(config.data), config.figure)
    law = fit(rewards, config)
    furthest = config.beyond * float(rewards.compute.max())
    beyond = law.foretell(furthest)
    rows = list_rows(law)
    held = hold_back(rewards, config)
    show.print(draw_table(rows, law))
    for line in (*tell(law, rewards, config, furthest, beyond), *tell_held(held, config)):
        show.line(line)
    facts = [("rows", str(len(rewards.reward))), ("runs", str(rewards.runs))]
    drawn = draw_reward_law(law, rewards.unit, config.figure, rows, (furthest, beyond), held, facts)
    write_show_page(page, drawn)
    show.line(f"The page: {page}")
    summary = {
        "verb": "scale",
        "run": str(run.folder),
        "steps": len(rewards.reward),
        "seconds": run.seconds,
        "figure": config.figure,
        "unit": rewards.unit,
        "law": {name: [each.value, each.low, each.high] for name, each in rows},
        "ceiling_seen": law.seen,
        "foretold": {"compute": furthest, "reward": [beyond.value, beyond.low, beyond.high]},
        "held": None if held is None else held.describe(),
    }
    run.finish(summary)
    return summary


def read_rewards(names: list[str], figure: str) -> Rewards:
    """Of all runs together, by the tokens of completions, else the steps of worlds, else batches:
    what all of them have. Raises UserError for a figure that some run has not.
    """
    runs = [_read_run(Path(name).expanduser(), figure) for name in names]
    unit = next(each for each in ("tokens", "world_steps", "step") if all(each in r for r in runs))
    words = {"tokens": "completion tokens", "world_steps": "steps of worlds", "step": "batches"}
    compute = np.concatenate([each[unit] for each in runs])
    reward = np.concatenate([each["reward"] for each in runs])
    order = np.argsort(compute, kind="stable")
    return Rewards(compute[order], reward[order], words[unit], len(runs))


def _read_run(folder: Path, figure: str) -> dict[str, Array]:
    """reward, step, and what else all of its rows with the figure have: tokens, added up over all
    rows, and world_steps.
    """
    columns: dict[str, list[float]] = {"reward": [], "step": [], "tokens": [], "world_steps": []}
    tokens, others = 0.0, set[str]()
    for row in read_log(folder / "metrics.jsonl", FiguresRecord):
        tokens += _as_number(row.get("tokens")) or 0.0
        step, value = _as_number(row.get("step")), _as_number(row.get(figure))
        others |= {name for name, each in row.items() if _as_number(each) is not None}
        if value is None or not step:  # what is judged before the first step has no compute
            continue
        columns["reward"].append(value)
        columns["step"].append(step)
        columns["tokens"].append(tokens)
        columns["world_steps"].append(_as_number(row.get("world_steps")) or 0.0)
    if not columns["reward"]:
        raise UserError(
            f"{folder} has no row with figure={figure}: give one of "
            f"{', '.join(sorted(others - {'step'})) or 'those that a run with metrics has'}."
        )
    told = {"reward", "step"} | {name for name, each in columns.items() if min(each) > 0}
    return {name: np.array(columns[name]) for name in told}


def _as_number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def hold_back(rewards: Rewards, config: ScaleConfig) -> RewardHeld | None:
    """The curve of the first half of the compute, and the mean of the last rows, which it
    foretells; None where the half is too short.
    """
    most = float(rewards.compute.max())
    half = rewards.take(rewards.compute <= most / 2)
    last = rewards.take(rewards.compute > (1 - LAST) * most)
    try:
        law = fit(half, config)
    except UserError:
        return None
    foretold = law.foretell_rows(last.compute)
    return RewardHeld(law, float(last.compute.min()), most, foretold, float(last.reward.mean()))


def fit(rewards: Rewards, config: ScaleConfig) -> Saturation:
    most = config.most
    if most is None:
        most = 1.0 if is_share(config.figure) else np.inf
    return fit_saturation(rewards.compute, rewards.reward, most=most, share=config.share)


def list_rows(law: Saturation) -> list[tuple[str, Interval]]:
    names = ("start", "ceiling", "middle", "power")
    return [(name, getattr(law, name)) for name in names]


def draw_table(rows: list[tuple[str, Interval]], law: Saturation) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "fitted", f"{100 * law.share:.0f} % interval"):
        table.add_column(column, justify="left" if not column else "right")
    for name, each in rows:
        low, high = write_number(each.low), write_number(each.high)
        table.add_row(name, write_number(each.value), f"{low} to {high}")
    return table


def tell(
    law: Saturation, rewards: Rewards, config: ScaleConfig, furthest: float, beyond: Interval
) -> list[str]:
    told = [
        f"{config.figure} over {rewards.unit}: {len(rewards.reward)} rows of {rewards.runs} "
        f"{'run' if rewards.runs == 1 else 'runs'}; a row's luck {law.noise:.3g}",
        f"at {config.beyond:g} times the compute ({write_number(furthest)} {rewards.unit}): "
        f"{beyond.value:.3f} ({beyond.low:.3f} to {beyond.high:.3f})",
    ]
    if not law.seen:
        told.append("no ceiling is to be seen yet: the curve may rise on without end")
    return told


def tell_held(held: RewardHeld | None, config: ScaleConfig) -> list[str]:
    if held is None:
        return []
    return [
        f"from its first half alone: the last tenth was foretold {held.foretold.value:.3f} "
        f"({100 * config.share:.0f} %: {held.foretold.low:.3f} to {held.foretold.high:.3f}), came "
        f"to {held.reward:.3f}: {'inside' if held.true else 'OUTSIDE'} the interval"
    ]
