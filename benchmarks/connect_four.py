"""How good a player `fledge selfplay connect4` has become: against UCT with 1,000 random games a
move, and beside our own solver in positions with 14 empty squares or fewer.

    fledge selfplay connect4                          # an hour of one core
    python benchmarks/connect_four.py --run runs/selfplay

The match has 200 games, each opening of two moves at random from both sides, 400 simulations a
move. The positions are those of random games, every number of empty squares from 2 to 14 as often,
none twice, none over. A move is optimal that the solver gives the position's own value: win, draw
or loss, without regard to how soon. The network's move without any search, and with 400
simulations; and the same where not every legal move is optimal, since where all of them are there
is nothing to know.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.evaluate.arena import play_match
from fledge.plan.search.connect_four_solver import ConnectFourSolver
from fledge.plan.search.network_evaluator import NetworkEvaluator
from fledge.plan.search.players import uct_player
from fledge.recipes.games.building import build_player, load_player_network
from fledge.worlds.games.connect_four import ConnectFour
from side_by_side import finish, options, say, table

GAMES, SIMULATIONS, ROLLOUTS = 200, 400, 1_000
LEAST_EMPTY, MOST_EMPTY, EACH = 2, 14, 60  # positions: so many of every number of empty squares
GAMES_AT_A_TIME = 4096
WON = "won of the games against UCT with 1,000 random games a move"
OPTIMAL = "optimal moves with 14 empty squares or fewer, 400 simulations"
AIMS = {WON: "≥ 0.9", OPTIMAL: "≥ 0.95"}


def draw_positions(game: ConnectFour, each: int, seed: int) -> np.ndarray:
    """So many of every number of empty squares, all different.  -> [each · 13, 3]"""
    draw = np.random.default_rng(seed)
    drawn = {empty: dict[bytes, np.ndarray]() for empty in range(LEAST_EMPTY, MOST_EMPTY + 1)}
    while any(len(some) < each for some in drawn.values()):
        playing = game.begin(GAMES_AT_A_TIME)
        for empty in range(game.longest - 1, LEAST_EMPTY - 1, -1):
            upto = game.legal(playing).cumsum(1)
            chosen = upto > draw.random((len(playing), 1)) * upto[:, -1:]
            playing = game.apply(playing, chosen.argmax(1))
            playing = playing[~game.outcome(playing)[0]]
            some = drawn.get(empty, {})
            for position in playing[: each - len(some)] if empty in drawn else ():
                some[position.tobytes()] = position
    return np.concatenate([np.stack(list(some.values())) for some in drawn.values()])


def main() -> None:
    given = options(__doc__, run="a finished run of `fledge selfplay connect4`")
    torch.set_num_threads(1)
    games, each = (8, 2) if given.quick else (GAMES, EACH)
    game, network, card = load_player_network(Path(given.run or "runs/selfplay"))
    assert isinstance(game, ConnectFour)
    cpu = torch.device("cpu")
    player = build_player(game, network, cpu, SIMULATIONS)

    say(f"{games} games against UCT with {ROLLOUTS:,} random games a move")
    began = time.perf_counter()
    match = play_match(game, player, uct_player(game, ROLLOUTS, seed=1), games, seed=2)
    match_s = time.perf_counter() - began

    positions = draw_positions(game, each, seed=3)
    number = len(positions)
    say(f"{number} positions with {LEAST_EMPTY} to {MOST_EMPTY} empty squares")
    solver = ConnectFourSolver(game)
    values = np.array([
        [np.nan if value is None else value for value in solver.action_values(position)]
        for position in positions
    ])  # fmt: skip
    best = values == np.nanmax(values, 1, keepdims=True)
    hard = (best != game.legal(positions)).any(1)
    prior, _ = NetworkEvaluator(game, network, cpu)(positions, game.legal(positions))
    rows = np.arange(number)
    right = {
        "network alone": best[rows, prior.argmax(1)],
        f"{SIMULATIONS} simulations": best[rows, player.play(positions)],
    }
    ratios = {WON: match.won, OPTIMAL: float(right[f"{SIMULATIONS} simulations"].mean())}
    figures: dict[str, Any] = {
        "games learned from": card.games,
        "match": {
            "won": match.won, "drawn": match.drawn, "lost": match.lost, "seconds": match_s,
            "score_interval": list(match.interval),
        },
        "positions": number,
        "positions where not every move is optimal": int(hard.sum()),
        "optimal": {name: float(hit.mean()) for name, hit in right.items()},
        "optimal where not every move is": {
            name: float(hit[hard].mean()) for name, hit in right.items()
        },
    }  # fmt: skip
    text = table(
        ("connect four", "share"),
        [
            (f"won of {games} games", f"{match.won:.3f}"),
            ("drawn, lost", f"{match.drawn:.3f}, {match.lost:.3f}"),
            *((f"optimal, {name}", f"{hit.mean():.3f}") for name, hit in right.items()),
            *(
                (f"the same in the {hard.sum()} of {number} that are no matter of course, {name}",
                 f"{hit[hard].mean():.3f}")
                for name, hit in right.items()
            ),
        ],
    )  # fmt: skip
    finish(given.json, text, ratios, figures, AIMS)


if __name__ == "__main__":
    main()
