"""Games of open_spiel (an extra: pip install fledge[games]) in which something is hidden."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from fledge.errors import UserError
from fledge.worlds.poker import CHANCE, OVER


def import_pyspiel() -> Any:
    """Raises UserError where open_spiel is not installed."""
    try:
        import pyspiel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"games named spiel:… are open_spiel's, which is not here ({error}): "
            "pip install 'fledge[games]'."
        ) from None
    return pyspiel


def load_spiel(name: str) -> Any:
    """One of open_spiel's by its name, such as leduc_poker or goofspiel(num_cards=3). Raises
    UserError for a name or a parameter that it does not know.
    """
    pyspiel = import_pyspiel()
    short = name.partition("(")[0]
    known = pyspiel.registered_names()
    if short not in known:
        near = difflib.get_close_matches(short, known, n=1)
        hint = f"perhaps you meant spiel:{near[0]}" if near else "see its list of games"
        raise UserError(f"open_spiel has no game {short!r}: {hint}.")
    try:
        return pyspiel.load_game(name)
    except Exception as error:  # its own SpielError, and what C++ throws
        raise UserError(
            f"open_spiel cannot make {name!r} ({str(error).splitlines()[0]}): give parameters that "
            "it knows, as in spiel:goofspiel(num_cards=3)."
        ) from None


class SpielGame:
    """One of open_spiel's as `fledge.worlds.hidden_game` asks for one. Simultaneous moves become
    turns, of which the second does not see the first.
    """

    def __init__(self, name: str) -> None:
        """Raises UserError for a game that is not of two players whose payoffs add up to 0, and for
        one that cannot be listed.
        """
        self.pyspiel = import_pyspiel()
        self.game, self.name = load_spiel(name), f"spiel:{name}"
        kind = self.game.get_type()
        if kind.dynamics == self.pyspiel.GameType.Dynamics.SIMULTANEOUS:
            self.game = self.pyspiel.convert_to_turn_based(self.game)
            kind = self.game.get_type()
        if self.game.num_players() != 2:
            raise UserError(
                f"{self.name} has {self.game.num_players()} players: regrets find an equilibrium "
                "of games for two. Give another."
            )
        zero = kind.utility in (self.pyspiel.GameType.Utility.ZERO_SUM,
                                self.pyspiel.GameType.Utility.CONSTANT_SUM)  # fmt: skip
        if not zero:
            raise UserError(
                f"what one player of {self.name} wins the other need not lose: regrets find an "
                "equilibrium only where payoffs add up to 0. Give another game."
            )
        if kind.chance_mode == self.pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC:
            raise UserError(
                f"chance in {self.name} is drawn and has no listed probabilities: give a game "
                "whose chances are explicit."
            )
        if not kind.provides_information_state_string:
            raise UserError(
                f"{self.name} does not say what a player knows (no information state): give "
                "another."
            )
        total = self.game.utility_sum()
        self.share = 0.0 if total is None else total / 2

    def begin(self) -> Any:
        return self.game.new_initial_state()

    def turn(self, state: Any) -> int:
        if state.is_terminal():
            return OVER
        return CHANCE if state.is_chance_node() else state.current_player()

    def chances(self, state: Any) -> Sequence[float]:
        return [chance for _, chance in state.chance_outcomes()]

    def actions(self, state: Any) -> Sequence[str]:
        player = state.current_player()
        return [state.action_to_string(player, action) for action in state.legal_actions()]

    def information(self, state: Any) -> str:
        return state.information_state_string(state.current_player())

    def after(self, state: Any, number: int) -> Any:
        if state.is_chance_node():
            return state.child(state.chance_outcomes()[number][0])
        return state.child(state.legal_actions()[number])

    def payoff(self, state: Any) -> float:
        """Of a game whose payoffs add up to a constant: above half of it."""
        return state.returns()[0] - self.share
