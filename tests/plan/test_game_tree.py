"""A game as arrays has every history once; a game that cannot be one is refused in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.plan import game_tree
from fledge.plan.game_tree import read_tree
from fledge.worlds.poker import Kuhn, Leduc


def test_kuhn_and_leduc_have_as_many_histories_as_are_published() -> None:
    """Kuhn: 6 deals × 9 histories, and 4 while dealing. Leduc: open_spiel's 9,457 states."""
    kuhn, leduc = read_tree(Kuhn()), read_tree(Leduc())
    assert (len(kuhn.turn), len(kuhn.sets), int((kuhn.children == 0).sum())) == (58, 12, 30)
    assert (len(leduc.turn), len(leduc.sets), int((leduc.children == 0).sum())) == (9457, 288, 5520)


@pytest.mark.parametrize("game", [Kuhn(), Leduc()])
def test_children_stand_side_by_side_below_their_parent(game: Any) -> None:
    tree = read_tree(game)
    for node in np.flatnonzero(tree.children > 0):
        first = tree.first_child[node]
        assert (tree.parent[first : first + tree.children[node]] == node).all()
    dealt = tree.chance[tree.slot < 0]
    assert dealt.min() > 0
    ends = tree.children == 0
    reach = np.ones(len(tree.turn))
    for node in range(1, len(reach)):
        reach[node] = reach[tree.parent[node]] * tree.chance[node]
    first = tree.sets[0].first  # the first action of every set alone: one end a deal
    assert first == 0
    always = np.array([one.first for one in tree.sets])
    played = np.isin(tree.slot, always) | (tree.slot < 0)
    for node in range(1, len(reach)):
        played[node] &= played[tree.parent[node]]
    assert reach[ends & played].sum() == pytest.approx(1, abs=1e-12)


class Broken(Kuhn):
    """Kuhn's with one rule changed."""

    name = "broken"

    def __init__(self, **rules: Any) -> None:
        for rule, function in rules.items():
            setattr(self, rule, function)


KUHN = Kuhn()


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"information": lambda state: state.cards[KUHN.turn(state)]}, "no longer knows"),
        ({"chances": lambda state: [0.5]}, "are no distribution"),
        ({"turn": lambda state: 7}, "turn 7 is none of"),
        ({"actions": lambda state: ()}, "has no action"),
        ({"actions": lambda state: ("pass", f"bet {state.cards}")}, "has the same actions"),
        ({"payoff": lambda state: 1 / 0}, "failed (ZeroDivisionError"),
    ],
)
def test_a_game_that_is_none_is_refused(rules: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        read_tree(Broken(**rules))


def test_a_game_too_large_to_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(game_tree, "MOST_NODES", 50)
    with pytest.raises(UserError, match="more than 50 histories"):
        read_tree(Kuhn())
