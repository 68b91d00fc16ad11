"""`fledge solve`: an equilibrium of a game in which something is hidden, by minimising regret."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, Field

from fledge.algorithms.own import OwnClass
from fledge.algorithms.registry import Subject, names_of
from fledge.errors import UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.models.control.strategy_table import StrategyTable
from fledge.next_command import write_command
from fledge.plan.game_tree import GameTree, read_tree
from fledge.recipes.algorithm_fields import AlgorithmFields
from fledge.recipes.course import Course, Start, Summary
from fledge.report.figures import format_value
from fledge.runs.folder import Run
from fledge.runs.model_files import write_model
from fledge.runs.show import Show
from fledge.sample.iterations import Iterations
from fledge.splits import HeldOut
from fledge.worlds.hidden_game import find_hidden_game

SMALLEST = 1e-16  # exploitability that a picture still tells from 0
TOLD_SETS = 40  # information sets that a page and the terminal still list one by one


class SolveConfig(AlgorithmFields):
    """Find how to play a game in which something is hidden, such as poker: a strategy against which
    nobody wins more than its value. A search from where one stands would see the other's cards;
    regrets over all that a player can know do not.
    """

    subject: ClassVar[Subject] = "hidden"

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    game: str = Field(
        default="kuhn",
        description="kuhn, leduc, spiel:NAME of open_spiel, or ./mine.py:Game of your own; two "
        "players, and what one wins the other loses",
    )
    algorithm: str = Field(
        default="cfr_plus", description=f"one of {', '.join(names_of('hidden'))}"
    )
    steps: int = Field(default=1000, ge=1, description="iterations: both players once each")
    stop_at_exploitability: float | None = Field(
        default=None, ge=0, description="end as soon as an evaluation is this low, in game units"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of what mccfr draws")
    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/solve, runs/solve-2, …",
    )
    evaluate_every: int | None = Field(
        default=None, ge=0, description="iterations between best responses; none: a hundredth"
    )
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")


def solve(config: SolveConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for a game that there is not, that is too large to list, or in which a
    player forgets.
    """
    start, config = Start("solve", show, run), config.composed()
    kind: Any = config.entry.algorithm
    if isinstance(kind, OwnClass):
        raise UserError(
            f"algorithm={config.algorithm} was given: `fledge solve` knows "
            f"{', '.join(names_of('hidden'))}; give one of them."
        )
    tree = read_tree(find_hidden_game(config.game))
    algorithm = kind(tree, start.stopwatch, config.settings, seed=config.seed)
    with start.begin(config, data=[config.game] if ".py:" in config.game else []) as course:
        course.say(
            f"{tree.name} by {config.algorithm}, {len(tree.turn):,} histories, "
            f"{len(tree.sets):,} information sets"
        )

        def read(part: HeldOut, step: int) -> Figures:
            figures = algorithm.form.evaluate(algorithm.average_strategies())
            # for the picture: it falls by powers of ten
            least = max(figures["exploitability"], SMALLEST)
            return figures | {"log10_exploitability": math.log10(least)}

        judge = Judge(read, ranks="exploitability", lower_is_better=True)
        limit = config.stop_at_exploitability
        every = max(1, config.steps // 100)
        course.fit(
            algorithm, Iterations(), [judge], figure="exploitability",
            stop_at=None if limit is None else -limit,
            evaluate_every=every if config.evaluate_every is None else config.evaluate_every,
        )  # fmt: skip
        return conclude(course, tree, algorithm)


def conclude(course: Course, tree: GameTree, algorithm: Any) -> Summary:
    """The average strategy into the run's model, and what it came to."""
    strategy = make_table(tree, algorithm)
    with write_model(course.run.model_folder) as folder:
        strategy.save(folder)
    figures = algorithm.form.evaluate(algorithm.average_strategies())
    told = {name: format_value(name, value) for name, value in figures.items()}
    lines = [
        f"solve: the first player wins {figures['game_value']:.6f} a game; whoever answers best "
        f"wins {told['exploitability']} more, the mean of both seats."
    ]
    own: dict[str, Any] = {"game": tree.name, "information_sets": len(tree.sets)}
    if len(tree.sets) <= TOLD_SETS:
        own["tables"] = [list_strategy(strategy)]
        lines += write_rows(own["tables"][0]["columns"], own["tables"][0]["rows"])
    return course.finish(
        own, then=write_command("report", run=course.run.folder), lines=lines, test={},
        figures={name: name for name in figures},
    )  # fmt: skip


def make_table(tree: GameTree, algorithm: Any) -> StrategyTable:
    """The algorithm's average, in the order in which the tree came to its information sets."""
    shares = torch.empty(tree.slots, dtype=torch.float64)
    for side, strategy in zip(algorithm.form.sides, algorithm.average_strategies(), strict=True):
        shares[torch.from_numpy(side.tree_slot)] = torch.from_numpy(strategy)
    by_player = ({}, {})
    order: list[torch.Tensor] = []
    for player in (0, 1):
        for each in tree.sets:
            if each.player == player:
                by_player[player][each.name] = each.actions
                order.append(shares[each.first : each.first + len(each.actions)])
    return StrategyTable(tree.name, by_player, torch.cat(order))


def list_strategy(strategy: StrategyTable) -> dict[str, Any]:
    """A table as a page shows it: a row for all that a player can know."""
    both = strategy.read_all()
    actions = list(dict.fromkeys(a for own in both for row in own.values() for a in row))
    rows = [
        [f"{('first', 'second')[player]}: {known}"]
        + [f"{100 * row[a]:.1f} %" if a in row else "" for a in actions]
        for player in (0, 1)
        for known, row in both[player].items()
    ]
    note = "with which probability each does what, by what it knows"
    if strategy.game == "kuhn":
        note += (
            ": own card, then what was said (p pass, b bet). Equilibria are a family: the first "
            "player bets J with α ≤ 1/3, K with 3α, and calls with Q with α + 1/3"
        )
    return {"title": "The strategy", "note": note, "columns": ["who: knows", *actions],
            "rows": rows}  # fmt: skip


def write_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The same in lines of text."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    return [
        "  " + "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [columns, *rows]
    ]  # fmt: skip
