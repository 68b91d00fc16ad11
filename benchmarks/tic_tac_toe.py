"""How good players `fledge selfplay tictactoe` has made, in every position of the game, beside
minimax.

    fledge selfplay tictactoe algorithm=muzero
    python benchmarks/tic_tac_toe.py --run runs/selfplay

Of all 5,478 positions those in which there is a move. A move is optimal that keeps the position's
value; it throws away what was not lost where the opponent could win after it. By the network alone,
also before it has learned anything, and with 400 simulations, `fledge play`'s.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from fledge.models.control.latent_board import LatentBoardNetwork
from fledge.plan.search.latent_model import LatentModel
from fledge.plan.search.minimax import solve_game
from fledge.plan.search.network_evaluator import NetworkEvaluator
from fledge.recipes.games.building import build_network, build_player, load_player_network
from fledge.worlds.games.tic_tac_toe import TicTacToe
from side_by_side import finish, options, say, table

SIMULATIONS, PARTS = 400, 5  # positions are searched a fifth at a time


def answer_alone(game: TicTacToe, network: nn.Module, positions: np.ndarray) -> np.ndarray:
    """The network's likeliest moves.  [N, W] -> [N]"""
    cpu, legal = torch.device("cpu"), game.legal(positions)
    if isinstance(network, LatentBoardNetwork):
        return LatentModel(game, network, cpu).begin(positions).prior.argmax(1)
    return NetworkEvaluator(game, network, cpu)(positions, legal)[0].argmax(1)


def main() -> None:
    given = options(
        __doc__, run="a finished run of `fledge selfplay tictactoe`",
        simulations=f"of each search, {SIMULATIONS} unless given",
    )  # fmt: skip
    torch.set_num_threads(1)
    simulations = 16 if given.quick else int(given.simulations or SIMULATIONS)
    game, network, card = load_player_network(Path(given.run or "runs/selfplay"))
    assert isinstance(game, TicTacToe)
    solved = solve_game(game)
    positions = solved.positions[~game.outcome(solved.positions)[0]]
    values = solved.action_values(positions)
    best, rows = np.nanmax(values, 1), np.arange(len(positions))
    shown, figures, cpu = [], {}, torch.device("cpu")
    player = build_player(game, network, cpu, simulations)
    untrained = build_network(game, card).eval()
    ways = {
        "untrained, network alone": lambda: answer_alone(game, untrained, positions),
        f"{card.algorithm}, network alone": lambda: answer_alone(game, network, positions),
        f"{card.algorithm}, {simulations} simulations": lambda: np.concatenate(
            [player.play(part) for part in np.array_split(positions, PARTS)]
        ),
    }
    for name, answer in ways.items():
        say(name)
        kept = values[rows, answer()]
        lost = int(((kept == -1) & (best > -1)).sum())
        optimal = float((kept == best).mean())
        figures[name] = {"optimal": optimal, "thrown_away": lost}
        shown.append((name, f"{optimal:.2%}", str(lost)))
    header = (f"{len(positions)} positions", "optimal", "thrown away")
    figures["games learned from"] = card.games
    finish(given.json, table(header, shown), {}, figures, {})


if __name__ == "__main__":
    main()
