"""Games that a search plays against itself, all of a batch side by side from the first move to the
last: positions, what the search would play, and how the game ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.plan.search.searching import Search
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Rows
from fledge.worlds.games.game import CHANCE, Game, Numbers, mover_sign


@dataclass(frozen=True)
class PlayedMoves(Rows):
    """P moves of whole games, in the order in which they were played, game by game."""

    position: Tensor  # [P, W] int64
    policy: Tensor  # [P, A]: what the search would play
    action: Tensor  # [P] int64: what was played
    result: Tensor  # [P]: what the player whose turn it was got in the end
    value: Tensor  # [P]: what the search said it would be
    game: Tensor  # [P] int64: which game of all that the sampler played

    def count_actions(self) -> int:
        return len(self)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.items())


class SelfPlay:
    """Plays `games` games a batch. In the first `temperature_moves` moves of each an action is
    drawn by the search's policy, later the best is played; a Gumbel search is played as it says.
    Before that each game has none to `random_moves` moves drawn evenly, of which none is a row:
    so what is learned does not end where good play never goes.

    The state is what is drawn by chance; no game is ever left in the middle.
    """

    def __init__(
        self,
        game: Game,
        search: Search,
        games: int,
        *,
        temperature_moves: int,
        random_moves: int = 0,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.game, self.search, self.games = game, search, games
        self.temperature_moves, self.random_moves = temperature_moves, random_moves
        self.stopwatch = stopwatch
        self.draw = np.random.Generator(np.random.PCG64(seed))
        self.figures: dict[str, float] = {}
        self.played = 0  # games, ever
        self.moves = 0

    def __iter__(self) -> Iterator[PlayedMoves]:
        return self

    def __next__(self) -> PlayedMoves:
        with self.stopwatch.phase("sample"):
            rows, result = self.play()
        self.played += self.games
        self.moves += len(rows)
        self.figures = {
            "games": float(self.played),
            "moves": float(self.moves),
            "game_length": len(rows) / self.games,
            "first_won": float((result > 0).mean()),
            "drawn": float((result == 0).mean()),
        }
        return rows

    def play(self) -> tuple[PlayedMoves, Numbers]:
        """A batch of games, and what player 0 got in each."""
        game, search = self.game, self.search
        self.search.model.forget()
        at, positions = np.arange(self.games), self.open_games()
        result = np.zeros(self.games)
        forest = search.plant(positions)
        noted: list[tuple[Numbers, ...]] = []
        ply = 0
        while len(at):
            searched = search.run(forest)
            action = self.choose(searched.policy, searched.action, ply)
            sign = mover_sign(game.turn(positions))
            noted.append((at, positions, searched.policy, action, searched.value, sign))
            everyone = np.arange(len(at))
            if search.reuses:
                forest.move(everyone, action)
            positions, thrown = self.throw(game.apply(positions, action))
            over, worth = game.outcome(positions)
            result[at[over]] = worth[over]
            goes_on = np.flatnonzero(~over)
            at, positions, ply = at[goes_on], positions[goes_on], ply + 1
            if len(at) and search.reuses:
                for row, face in thrown:
                    forest.move(row, face)
                search.pack(forest, goes_on)
            elif len(at):
                forest = search.plant(positions)
        return self.collect(noted, result), result

    def open_games(self) -> Numbers:
        """Where games begin; none is over.  -> [games, W]"""
        game = self.game
        positions, _ = self.throw(game.begin(self.games))
        if not self.random_moves:
            return positions
        moves = self.draw.integers(self.random_moves + 1, size=self.games)
        for made in range(self.random_moves):
            upto = game.legal(positions).cumsum(1)
            anything = (upto > self.draw.random((self.games, 1)) * upto[:, -1:]).argmax(1)
            after, _ = self.throw(game.apply(positions, anything))
            goes_on = (made < moves) & ~game.outcome(after)[0]
            positions = np.where(goes_on[:, None], after, positions)
        return positions

    def throw(self, positions: Numbers) -> tuple[Numbers, list[tuple[Numbers, Numbers]]]:
        """Where chance has its turn an outcome is drawn. -> positions, and which rows had which
        outcomes, throw after throw
        """
        game, thrown = self.game, list[tuple[Numbers, Numbers]]()
        while game.outcomes:
            falls = (game.turn(positions) == CHANCE) & ~game.outcome(positions)[0]
            if not falls.any():
                break
            upto = game.chance(positions[falls]).cumsum(1)
            face = (upto > self.draw.random((len(upto), 1)) * upto[:, -1:]).argmax(1)
            positions = positions.copy()
            positions[falls] = game.apply(positions[falls], face)
            thrown.append((np.flatnonzero(falls), face))
        return positions, thrown

    def choose(self, policy: Numbers, best: Numbers, ply: int) -> Numbers:
        """[n, A], [n] -> [n]"""
        if ply >= self.temperature_moves or self.search.settings.rule == "gumbel":
            return best
        upto = policy.cumsum(1)
        return (upto > self.draw.random((len(policy), 1)) * upto[:, -1:]).argmax(1)

    def collect(self, noted: list[tuple[Numbers, ...]], result: Numbers) -> PlayedMoves:
        """Game by game."""
        at, positions, policy, action, value, sign = (
            np.concatenate(part) for part in zip(*noted, strict=True)
        )
        order = np.argsort(at, kind="stable")
        got = result[at] * sign
        return PlayedMoves(
            position=torch.from_numpy(positions[order]),
            policy=torch.from_numpy(policy[order]).float(),
            action=torch.from_numpy(action[order]),
            result=torch.from_numpy(got[order]).float(),
            value=torch.from_numpy(value[order]).float(),
            game=torch.from_numpy(at[order] + self.played),
        )

    def state_dict(self) -> dict[str, Any]:
        state: Any = self.draw.bit_generator.state
        words = {name: str(number) for name, number in state["state"].items()}
        return {
            "draw": {**state, "state": words},
            "search": self.search.state_dict(),
            "played": self.played,
            "moves": self.moves,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        words = {name: int(number) for name, number in state["draw"]["state"].items()}
        self.draw.bit_generator.state = {**state["draw"], "state": words}
        self.search.load_state_dict(state["search"])
        self.played, self.moves = state["played"], state["moves"]
