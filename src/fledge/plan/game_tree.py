"""An extensive-form game as arrays: all its histories, level by level, the children of one side by
side, so that a sweep is a few operations a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fledge.errors import UserError
from fledge.user_code import tell_as
from fledge.worlds.hidden_game import CHANCE, OVER, HiddenGame

MOST_NODES = 1_000_000  # histories: a minute to list those of another library


@dataclass(frozen=True)
class InformationSet:
    """What one player cannot tell apart. first: the number of its first action's slot; `slots` are
    the actions of all information sets in a row. before: the slot of the player's own action before
    it, −1 where there was none. depth: how many own ones came before.
    """

    player: int
    name: str
    actions: tuple[str, ...]
    first: int
    before: int
    depth: int


@dataclass(frozen=True)
class GameTree:
    """N histories in the order of their levels. starts [L+1]: where each level begins.

    turn [N]; set_of [N]: the information set, −1 where no player moves; parent [N], −1 of the root;
    slot [N]: of the action that led here, −1 after chance; chance [N]: the probability of the
    outcome that led here, 1 after an action; first_child [N], children [N]; payoff [N] to player 0.
    """

    name: str
    sets: list[InformationSet]
    starts: np.ndarray
    turn: np.ndarray
    set_of: np.ndarray
    parent: np.ndarray
    slot: np.ndarray
    chance: np.ndarray
    first_child: np.ndarray
    children: np.ndarray
    payoff: np.ndarray

    @property
    def slots(self) -> int:
        """Actions of all information sets together."""
        return sum(len(each.actions) for each in self.sets)


def read_tree(game: HiddenGame) -> GameTree:
    """Every history of a game. Raises UserError for one that is too large, in which a player
    forgets, or whose probabilities do not add up.
    """
    with tell_as(lambda error: f"the game {game.name} failed ({type(error).__name__}: {error}): "
                 "mend it and run again."):  # fmt: skip
        return _Reading(game).read()


class _Reading:
    """Breadth first; columns of what is known of every history so far."""

    def __init__(self, game: HiddenGame) -> None:
        self.game = game
        self.sets: list[InformationSet] = []
        self.by_name: dict[tuple[int, str], int] = {}
        self.slots = 0
        self.columns: dict[str, list[Any]] = {
            name: [] for name in ("turn", "set_of", "parent", "slot", "chance", "first_child",
                                  "children", "payoff")
        }  # fmt: skip

    def read(self) -> GameTree:
        # of each history: the state, the last own slot of player 0 and 1, and of which depth it was
        level: list[tuple[Any, tuple[int, int], tuple[int, int]]]
        level = [(self.game.begin(), (-1, -1), (0, 0))]
        edges: list[tuple[int, int, float]] = [(-1, -1, 1.0)]
        starts = [0]
        while level:
            begin = starts[-1]
            starts.append(begin + len(level))
            for name, column in zip(("parent", "slot", "chance"), zip(*edges, strict=True),
                                    strict=True):  # fmt: skip
                self.columns[name] += column
            level, edges = self._open(level, begin, starts[-1])
        kinds = {"chance": np.float64, "payoff": np.float64}
        arrays = {
            name: np.array(column, kinds.get(name, np.int64))
            for name, column in self.columns.items()
        }
        return GameTree(self.game.name, self.sets, np.array(starts), **arrays)

    def _open(self, level: Sequence[Any], begin: int, after: int) -> tuple[list[Any], list[Any]]:
        """Look at every history of a level.  -> those after it, and the edges that lead there"""
        game, columns = self.game, self.columns
        below: list[Any] = []
        edges: list[Any] = []
        for number, (state, last, depth) in enumerate(level, start=begin):
            turn = game.turn(state)
            chances: Sequence[float] = ()
            place, count = -1, 0
            if turn in (0, 1):
                place = self._find_set(turn, state, last[turn], depth[turn])
                one = self.sets[place]
                count = len(one.actions)
                chances = (1.0,) * count
            elif turn == CHANCE:
                chances = self._read_chances(state)
                count = len(chances)
            elif turn != OVER:
                raise UserError(
                    f"{game.name}: turn {turn} is none of 0, 1, −1 (chance), −2 (over)."
                )
            columns["turn"].append(turn)
            columns["set_of"].append(place)
            columns["first_child"].append(after + len(below))
            columns["children"].append(count)
            if after + len(below) + count > MOST_NODES:
                raise UserError(
                    f"{game.name} has more than {MOST_NODES:,} histories: give a smaller one, such "
                    "as fewer cards or rounds."
                )
            columns["payoff"].append(float(game.payoff(state)) if turn == OVER else 0.0)
            for move, chance in enumerate(chances):
                slot = -1 if place < 0 else self.sets[place].first + move
                own, deep = list(last), list(depth)
                if turn in (0, 1):
                    own[turn], deep[turn] = slot, depth[turn] + 1
                edges.append((number, slot, chance))
                below.append((game.after(state, move), tuple(own), tuple(deep)))
        return below, edges

    def _read_chances(self, state: Any) -> Sequence[float]:
        chances = [float(chance) for chance in self.game.chances(state)]
        if not chances or min(chances) < 0 or abs(sum(chances) - 1) > 1e-9:
            raise UserError(
                f"{self.game.name}: chances {chances} are no distribution: they must be 0 or more "
                "and add up to 1."
            )
        return chances

    def _find_set(self, player: int, state: Any, before: int, depth: int) -> int:
        """The number of the information set of a state, which is new or the same as others."""
        name = self.game.information(state)
        actions = tuple(map(str, self.game.actions(state)))
        place = self.by_name.get((player, name))
        if place is None:
            if not actions:
                raise UserError(f"{self.game.name}: player {player} has no action at {name!r}.")
            place = self.by_name[player, name] = len(self.sets)
            self.sets.append(InformationSet(player, name, actions, self.slots, before, depth))
            self.slots += len(actions)
        known = self.sets[place]
        if known.before != before:
            raise UserError(
                f"{self.game.name}: player {player} at {name!r} no longer knows what it did "
                "before: regrets want players who forget nothing. Put it into `information`."
            )
        if known.actions != actions:
            raise UserError(
                f"{self.game.name}: at {name!r} player {player} has {actions} and elsewhere "
                f"{known.actions}: what it cannot tell apart has the same actions."
            )
        return place
