"""Kuhn's poker: the rows hold, the closed form is the game's own rules, and faults are seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fledge.exact import kuhn
from fledge.plan.sequence_form import SequenceForm
from fledge.verify import regret_rows as rows
from fledge.worlds.poker import Kuhn
from tests.plan.hidden_oracle import random_strategy, value_of


def test_the_rows_hold() -> None:
    made = rows.regret_rows()
    assert [row.id for row in made] == [f"CFR{n}" for n in range(1, 5)]
    assert all(row.holds for row in made), [row for row in made if not row.holds]


@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_is_the_rules_played_out(seed: int) -> None:
    strategy = random_strategy(Kuhn(), seed)
    bets = [
        torch.tensor([strategy[player, known][1] for known in rows.PLACES[player]])
        for player in (0, 1)
    ]
    assert float(kuhn.value(bets[0].double(), bets[1].double())) == pytest.approx(
        value_of(Kuhn(), strategy), abs=1e-12
    )


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1 / 3])
def test_nobody_gains_against_the_equilibria_of_1950(alpha: float) -> None:
    pair = kuhn.equilibrium(alpha)
    assert kuhn.best_answers(*pair) == pytest.approx((-1 / 18, 1 / 18), abs=1e-12)


def test_a_best_answer_that_overlooks_something_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SequenceForm.find_best_response
    monkeypatch.setattr(
        SequenceForm,
        "find_best_response",
        lambda self, player, plan: 0.99 * whole(self, player, plan),
    )
    assert not rows.best_answer_row().holds


def test_a_walk_that_forgets_the_strategy_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows.walk
    monkeypatch.setattr(
        rows, "walk", lambda tree, walker, strategy, n, pick: whole(
            tree, walker, np.full_like(strategy, 0.5), n, pick
        )
    )  # fmt: skip
    assert not rows.sampled_row().holds
