"""Games of open_spiel (an extra: pip install fledge[games]) in which nothing is hidden, for our
searches and self-play.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fledge.errors import UserError
from fledge.worlds.games.game import CHANCE, Numbers
from fledge.worlds.games.replayed import Replayed
from fledge.worlds.spiel import import_pyspiel, load_spiel


class SpielBoard(Replayed):
    def __init__(self, name: str) -> None:
        """Raises UserError for a game that hides something, or is not of two players in turn whose
        payoffs add up to 0.
        """
        kinds = import_pyspiel().GameType
        self.game, self.name = load_spiel(name), f"spiel:{name}"
        kind = self.game.get_type()
        if kind.dynamics != kinds.Dynamics.SEQUENTIAL or (
            kind.information != kinds.Information.PERFECT_INFORMATION
        ):
            raise UserError(
                f"{self.name} hides something from its players, and a search from one position "
                "would see it: `fledge solve` with game= finds how to play it, by regrets."
            )
        if self.game.num_players() != 2 or kind.utility != kinds.Utility.ZERO_SUM:
            raise UserError(
                f"{self.name} is not a game of two in which one wins what the other loses: give "
                "another."
            )
        if not kind.provides_observation_tensor:
            raise UserError(f"{self.name} shows no numbers for a network to see: give another.")
        self.actions = self.game.num_distinct_actions()
        self.outcomes = self.game.max_chance_outcomes()
        self.longest = self.game.max_game_length() + self.game.max_chance_nodes_in_history()
        self.most = max(abs(self.game.max_utility()), abs(self.game.min_utility()))
        self.lay_out(self.game.observation_tensor_shape())

    def start(self) -> Any:
        return self.game.new_initial_state()

    def play(self, history: Sequence[int], state: Any, action: int) -> Any:
        return state.child(action)

    def mover(self, state: Any) -> int:
        if state.is_chance_node():
            return CHANCE
        return 0 if state.is_terminal() else state.current_player()

    def list_moves(self, state: Any) -> Sequence[int]:
        return [] if state.is_chance_node() or state.is_terminal() else state.legal_actions()

    def list_chances(self, state: Any) -> Sequence[tuple[int, float]]:
        return state.chance_outcomes() if state.is_chance_node() else []

    def result(self, state: Any) -> float | None:
        return state.returns()[0] / self.most if state.is_terminal() else None

    def picture(self, state: Any) -> Numbers:
        mover = self.mover(state)
        return np.array(state.observation_tensor(0 if mover == CHANCE else mover), np.float32)

    def text(self, state: Any) -> str:
        return str(state)
