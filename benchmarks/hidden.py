"""CFR+ on Leduc poker: our sweeps over the sequence form against open_spiel's CFRPlusSolver in
Python, and its solver in C++ beside them.

The game is open_spiel's own (`leduc_poker`), which ours reads too. All sides run as many iterations
of the same algorithm, and the exploitability of their averages, by open_spiel's own measure, must
agree; so iterations a second are at equal exploitability. Building (the tree, the solver) is told
apart and not counted. One thread each.
"""

from __future__ import annotations

from typing import Any

import pyspiel
from open_spiel.python.algorithms import cfr, exploitability

from fledge.algorithms.regret.cfr import CFR_PLUS, CounterfactualRegret
from fledge.plan.game_tree import read_tree
from fledge.stopwatch import Stopwatch
from fledge.worlds.spiel import SpielGame
from side_by_side import alternate, finish, options, rate_table, rates, say, seconds, speed_up

GAME = "leduc_poker"
TARGET = "≥ 5"


def check_agreement(iterations: int) -> dict[str, float]:
    """The exploitability of each side's average after so many iterations, by open_spiel."""
    game = pyspiel.load_game(GAME)
    theirs, compiled = cfr.CFRPlusSolver(game), pyspiel.CFRPlusSolver(game)
    ours = CounterfactualRegret(read_tree(SpielGame(GAME)), Stopwatch(), CFR_PLUS)
    for _ in range(iterations):
        theirs.evaluate_and_update_policy()
        compiled.evaluate_and_update_policy()
        ours.update(None)
    figures = {
        "ours": ours.form.evaluate(ours.average_strategies())["exploitability"],
        "open_spiel": exploitability.exploitability(game, theirs.average_policy()),
        "open_spiel_cpp": pyspiel.exploitability(game, compiled.average_policy()),
    }
    away = max(figures.values()) - min(figures.values())
    assert away < 1e-9, f"the averages differ: {figures}"
    return figures


def main() -> None:
    given = options(__doc__)
    each, rounds = (1, 2) if given.quick else (5, 5)
    ours_each = 40 * each  # a round of ours is long enough to be timed
    say("building …")
    game = pyspiel.load_game(GAME)
    theirs, compiled = cfr.CFRPlusSolver(game), pyspiel.CFRPlusSolver(game)
    made: dict[str, Any] = {}

    def build() -> None:
        tree = read_tree(SpielGame(GAME))
        made["ours"] = CounterfactualRegret(tree, Stopwatch(), CFR_PLUS)

    building = seconds(build)

    def repeat(update: Any, times: int) -> float:
        """Seconds of `each` iterations."""
        return seconds(lambda: [update() for _ in range(times)]) * each / times

    sides = {
        "ours": lambda: repeat(lambda: made["ours"].update(None), ours_each),
        "open_spiel": lambda: repeat(theirs.evaluate_and_update_policy, each),
        "open_spiel_cpp": lambda: repeat(compiled.evaluate_and_update_policy, 4 * each),
    }
    times = alternate(sides, rounds)
    agreed = check_agreement(3 if given.quick else 20)
    ratios = {
        "python": speed_up(times, "ours", "open_spiel"),
        "cpp": speed_up(times, "ours", "open_spiel_cpp"),
    }
    per_second = rates(times, each)
    figures = {
        "iterations_per_second": per_second, "building_s": building, "exploitability": agreed,
    }  # fmt: skip
    finish(given.json, rate_table(per_second, "iterations/s"), ratios, figures, {"python": TARGET})


if __name__ == "__main__":
    main()
