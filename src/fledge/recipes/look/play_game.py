"""`fledge play GAME`: a game in the terminal against a finished run, UCT or minimax, or a match
between two of these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.evaluate.arena import Dice, Match, Player, play_match
from fledge.plan.search.players import MinimaxPlayer, RandomPlayer, Thoughts, uct_player
from fledge.recipes.games.building import build_player, load_player_network
from fledge.recipes.look.draw_board import describe_thoughts, draw_board
from fledge.recipes.look.typed_lines import TypedLines
from fledge.recipes.training import choose_device
from fledge.runs.show import Show
from fledge.seeds import seed_for
from fledge.worlds.games.game import Game, Numbers, read_move
from fledge.worlds.games.make import make_game

ME = "me"
WHO = "uct, minimax, random, or a finished run of `fledge selfplay`"


class Thinker(Player, Protocol):
    """Who also says what it thinks."""

    def think(self, position: Numbers) -> Thoughts: ...


class PlayGameConfig(BaseModel):
    """Play a game against a machine, or have two machines meet. Moves are typed, a line each: as
    the board names them, or hint, undo, quit. Lines may come through a pipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    run: str = Field(
        description="the game: tictactoe, connect4, connect4:COLUMNSxROWS, othello or dice"
    )
    against: str = Field(default="uct", description=WHO)
    by: str = Field(default=ME, description=f"who plays against it: me, by typing; or {WHO}")
    first: bool = Field(default=True, description="whether `by` begins, where it is me")
    games: int = Field(
        default=1, ge=1, description="of a match of two machines; each opening from both sides"
    )
    opening_moves: int = Field(
        default=2, ge=0, description="of a match that are drawn at random, so that games differ"
    )
    simulations: int = Field(default=400, ge=1, description="of each search for a move")
    rollouts: int | None = Field(
        default=None, ge=1, description="random games for each move of UCT; none: as simulations"
    )
    depth: int = Field(default=6, ge=1, description="moves that minimax looks ahead")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of everything that is drawn")


def play_game(config: PlayGameConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a game or a player that there is not."""
    game = make_game(config.run)
    against = choose_player(config, game, config.against)
    if config.by == ME:
        return play_with_person(config, game, against, show)
    by = choose_player(config, game, config.by)
    match = play_match(
        game, by, against, config.games, seed_for(config.seed, "evaluation", "match"),
        config.opening_moves,
    )  # fmt: skip
    return tell_match(config, match, show)


def choose_player(config: PlayGameConfig, game: Game, name: str) -> Thinker:
    seed = seed_for(config.seed, "actor", name)
    if name == "uct":
        return uct_player(game, config.rollouts or config.simulations, seed)
    if name == "minimax":
        return MinimaxPlayer(game, config.depth, seed)
    if name == "random":
        return RandomPlayer(game, seed)
    if not Path(name).is_dir():
        raise UserError(f"there is no player {name!r}: give {WHO}.")
    learned, network, _ = load_player_network(Path(name))
    if learned.name != game.name:
        raise UserError(
            f"{name} learned {learned.name}, and this is {game.name}: give a run of the same game."
        )
    device = choose_device("cpu")
    return build_player(game, network, device, config.simulations)


def tell_match(config: PlayGameConfig, match: Match, show: Show) -> dict[str, Any]:
    low, high = match.interval
    show.line(
        f"{config.by} against {config.against} in {config.run}: won {100 * match.won:.1f} %, drew "
        f"{100 * match.drawn:.1f} %, lost {100 * match.lost:.1f} % of {len(match.results)} games; "
        f"score {100 * match.score:.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f})."
    )
    return {
        "verb": "play",
        "game": config.run,
        "by": config.by,
        "against": config.against,
        "games": len(match.results),
        "won": match.won,
        "drawn": match.drawn,
        "lost": match.lost,
        "score": match.score,
        "interval": [low, high],
        "results": match.results.tolist(),
    }


class Table:
    """One game between a person and a machine, with every position so far."""

    def __init__(self, config: PlayGameConfig, game: Game, against: Thinker, show: Show) -> None:
        self.game, self.against, self.show = game, against, show
        self.dice = Dice(game, seed_for(config.seed, "worlds", "table"))
        self.positions: list[Numbers] = [self.dice.throw(game.begin(1))]
        self.moves: list[str] = []
        self.seat = 0 if config.first else 1
        self.lines = TypedLines(show)

    @property
    def position(self) -> Numbers:
        return self.positions[-1]

    @property
    def over(self) -> bool:
        return bool(self.game.outcome(self.position)[0][0])

    @property
    def mine(self) -> bool:
        return int(self.game.turn(self.position)[0]) == self.seat

    def play(self, action: int) -> None:
        after = self.game.apply(self.position, np.array([action]))
        self.positions.append(self.dice.throw(after))
        self.moves.append(self.game.name_move(action))

    def draw(self) -> None:
        self.show.line(draw_board(self.game, self.position[0]))

    def obey(self, word: str) -> None:
        """A move, or what else a person may say. Raises UserError for neither."""
        if word == "undo":
            self.take_back()
        elif word == "hint":
            thoughts = self.against.think(self.position[0])
            self.show.line(describe_thoughts(self.game, thoughts))
        else:
            self.play(read_move(self.game, self.position[0], word))
            self.draw()

    def take_back(self) -> None:
        """To the person's last turn. Raises UserError where there was none."""
        for place in range(len(self.moves) - 1, -1, -1):
            if int(self.game.turn(self.positions[place])[0]) == self.seat:
                del self.positions[place + 1 :], self.moves[place:]
                return self.draw()
        raise UserError("nothing can be taken back yet: give a move.")


def play_with_person(
    config: PlayGameConfig, game: Game, against: Thinker, show: Show
) -> dict[str, Any]:
    """Until the game is over, the input ends, or `quit`."""
    table = Table(config, game, against, show)
    show.line(f"You are {'xo'[table.seat]}. Type a move, or hint, undo, quit.")
    table.draw()
    while not table.over:
        if not table.mine:
            thoughts = against.think(table.position[0])
            table.play(thoughts.action)
            show.line(f"{config.against} plays {table.moves[-1]}.")
            table.draw()
            show.line(describe_thoughts(game, thoughts))
            continue
        try:
            line = table.lines.ask()
        except KeyboardInterrupt:
            line = None
        if line is None or line.strip().lower() == "quit":
            break
        try:
            if line.strip():
                table.obey(line.strip().lower())
        except UserError as error:  # a slip ends no game
            show.line(str(error))
    result = "unfinished"
    if table.over:
        worth = float(game.outcome(table.position)[1][0]) * (1 if table.seat == 0 else -1)
        result = {1.0: "won", 0.0: "drawn", -1.0: "lost"}[worth]
        show.line({"won": "You win.", "drawn": "A draw.", "lost": "You lose."}[result])
    return {
        "verb": "play",
        "game": config.run,
        "by": ME,
        "against": config.against,
        "moves": table.moves,
        "result": result,
    }
