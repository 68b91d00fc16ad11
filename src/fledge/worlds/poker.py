"""Kuhn's and Leduc's poker: the two small games on which answers to hidden information are tried.

Kuhn 1950: three cards, one bet. Leduc (Southey et al. 2005): six cards of three ranks, two rounds
of bets, an open card between them. Both are small enough for an exact answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

CHANCE, OVER = -1, -2  # whose turn it is where it is nobody's


@dataclass(frozen=True)
class KuhnState:
    """cards: of player 0 and 1, as far as dealt. said: p (pass) and b (bet)."""

    cards: str = ""
    said: str = ""


class Kuhn:
    """J, Q, K, one each; an ante of 1; one bet of 1. Payoffs in antes.

    The first player can hold on to −1/18, and its equilibria are one family: it bets J with a
    probability α between 0 and 1/3 and K with 3α (Kuhn 1950).
    """

    name = "kuhn"
    cards = "JQK"

    def begin(self) -> KuhnState:
        return KuhnState()

    def turn(self, state: KuhnState) -> int:
        if len(state.cards) < 2:
            return CHANCE
        if state.said in ("pp", "bp", "bb", "pbp", "pbb"):
            return OVER
        return len(state.said) % 2

    def chances(self, state: KuhnState) -> Sequence[float]:
        left = len(self._list_cards(state))
        return [1 / left] * left

    def _list_cards(self, state: KuhnState) -> str:
        """Those that are not dealt yet."""
        return "".join(card for card in self.cards if card not in state.cards)

    def actions(self, state: KuhnState) -> Sequence[str]:
        return ("pass", "bet")

    def information(self, state: KuhnState) -> str:
        return f"{state.cards[self.turn(state)]} {state.said}".strip()

    def after(self, state: KuhnState, number: int) -> KuhnState:
        if len(state.cards) < 2:
            return replace(state, cards=state.cards + self._list_cards(state)[number])
        return replace(state, said=state.said + "pb"[number])

    def payoff(self, state: KuhnState) -> float:
        if state.said == "bp":
            return 1.0
        if state.said == "pbp":
            return -1.0
        first, second = (self.cards.index(card) for card in state.cards)
        stake = 2.0 if state.said.endswith("bb") else 1.0
        return stake if first > second else -stake


@dataclass(frozen=True)
class LeducState:
    """cards: own ones of player 0 and 1, then the open one, numbers 0 to 5 (rank: halved). rounds:
    what was said in each: f (fold), c (check or call), r (raise). paid: by each, in antes.
    """

    cards: tuple[int, ...] = ()
    rounds: tuple[str, ...] = ("",)
    paid: tuple[int, int] = (1, 1)


class Leduc:
    """Two each of J, Q, K; an ante of 1; two rounds, in each at most two raises, of 2 and then of
    4. A pair with the open card wins, else the higher card. Payoffs in antes.
    """

    name = "leduc"
    ranks = "JQK"
    raises = (2, 4)
    most_raises = 2

    def begin(self) -> LeducState:
        return LeducState()

    def turn(self, state: LeducState) -> int:
        said = state.rounds[-1]
        if len(state.cards) < 2 or len(state.cards) < len(state.rounds) + 1:
            return CHANCE
        if said.endswith("f") or (self._is_settled(said) and len(state.rounds) == 2):
            return OVER
        return len(said) % 2

    def _is_settled(self, said: str) -> bool:
        """Whether nobody has anything more to say in this round."""
        return len(said) > 1 and said.endswith("c")

    def chances(self, state: LeducState) -> Sequence[float]:
        left = 6 - len(state.cards)
        return [1 / left] * left

    def _list_words(self, state: LeducState) -> str:
        said = state.rounds[-1]
        fold = "f" if said.endswith("r") else ""
        more = "r" if said.count("r") < self.most_raises else ""
        return f"{fold}c{more}"

    def actions(self, state: LeducState) -> Sequence[str]:
        call = "call" if state.rounds[-1].endswith("r") else "check"
        names = {"f": "fold", "c": call, "r": "raise"}
        return [names[word] for word in self._list_words(state)]

    def information(self, state: LeducState) -> str:
        own = self.ranks[state.cards[self.turn(state)] // 2]
        board = self.ranks[state.cards[2] // 2] if len(state.cards) > 2 else ""
        return f"{own}{board} {'/'.join(state.rounds)}".strip()

    def after(self, state: LeducState, number: int) -> LeducState:
        player = self.turn(state)
        if player == CHANCE:
            left = [card for card in range(6) if card not in state.cards]
            return replace(state, cards=(*state.cards, left[number]))
        word = self._list_words(state)[number]
        paid = list(state.paid)
        if word != "f":
            paid[player] = max(paid)
        if word == "r":
            paid[player] += self.raises[len(state.rounds) - 1]
        said = state.rounds[-1] + word
        rounds = (*state.rounds[:-1], said)
        if self._is_settled(said) and len(rounds) == 1:
            rounds = (*rounds, "")
        return replace(state, rounds=rounds, paid=(paid[0], paid[1]))

    def payoff(self, state: LeducState) -> float:
        said = state.rounds[-1]
        if said.endswith("f"):
            folded = (len(said) - 1) % 2
            return float(state.paid[1]) if folded == 1 else -float(state.paid[0])
        first, second, board = (card // 2 for card in state.cards)
        if first == second:
            return 0.0
        strength = [(rank == board, rank) for rank in (first, second)]
        return float(state.paid[1]) if strength[0] > strength[1] else -float(state.paid[0])
