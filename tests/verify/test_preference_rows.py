"""Pairs and verdicts: the rows hold, their formulas are torch's own losses, and each fails where
its subject is another's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fledge.algorithms.preference.dpo import DPO, IPO
from fledge.algorithms.preference.orpo import ORPO
from fledge.algorithms.preference.simpo import SimPO
from fledge.preference_losses import dpo
from fledge.verify import preference_rows as rows
from fledge.verify.laboratory import Hardware


def test_the_rows_hold_in_both_precisions() -> None:
    for dtype in (torch.float64, torch.float32):
        made = rows.preference_rows(Hardware("cpu", dtype))
        assert all(row.holds for row in made), [row for row in made if not row.holds]
        assert len({row.id for row in made}) == len(made) == 7


@pytest.mark.parametrize(
    "formula", [rows.dpo_formula, rows.ipo_formula, rows.simpo_formula, rows.orpo_formula]
)
def test_the_pulls_of_a_formula_are_the_slopes_of_its_loss(formula: rows.PairFormula) -> None:
    """By finite differences of either answer's log-probability."""
    sides = [rows.Said(-1.7, 0.4, 2), rows.Said(-3.1, -0.3, 3)]
    step = 1e-5
    for i in range(2):
        losses = []
        for sign in (1, -1):
            moved = list(sides)
            moved[i] = rows.Said(
                sides[i].logp + sign * step, sides[i].ratio + sign * step, sides[i].length
            )
            losses.append(formula(*moved)[0])
        assert formula(*sides)[1 + i] == pytest.approx(
            -(losses[0] - losses[1]) / (2 * step), rel=1e-7
        )


def test_the_pairs_losses_are_torchs_logistic() -> None:
    one, other = rows.Said(-1.7, 0.4, 2), rows.Said(-3.1, -0.3, 3)
    gap = rows.BETA * (0.4 + 0.3)
    assert rows.dpo_formula(one, other)[0] == pytest.approx(
        -F.logsigmoid(torch.tensor(gap).double()).item()
    )
    margin = 2 * (-1.7 / 2 + 3.1 / 3) - 1
    assert rows.simpo_formula(one, other)[0] == pytest.approx(
        -F.logsigmoid(torch.tensor(margin).double()).item()
    )


@pytest.mark.parametrize(
    ("make", "formula"),
    [
        (partial(DPO, settings=DPO.Settings(beta=0.4)), rows.dpo_formula),
        (partial(DPO, settings=IPO.replace(beta=rows.BETA)), rows.dpo_formula),
        (
            partial(
                DPO,
                settings=DPO.Settings(
                    beta=rows.BETA, loss=lambda one, other, beta: dpo(other, one, beta)
                ),
            ),
            rows.dpo_formula,
        ),
        (partial(SimPO, settings=SimPO.Settings(margin=0.5)), rows.simpo_formula),
        (partial(ORPO, settings=ORPO.Settings(beta=0.1)), rows.orpo_formula),
    ],
)
def test_another_loss_does_not_hold(make: Any, formula: rows.PairFormula) -> None:
    assert not rows.pair_row("P", "it", make, formula, Hardware()).holds


def test_only_the_optimum_is_at_rest() -> None:
    reward = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    share = torch.sigmoid(reward[:, None] - reward)
    rest = partial(rows.rest_row, "P", "it", partial(DPO, settings=DPO.Settings(beta=rows.BETA)))
    assert rest(reward, share, Hardware()).holds
    assert not rest(reward, share.T, Hardware()).holds
    assert not rest(0.9 * reward, share, Hardware()).holds
