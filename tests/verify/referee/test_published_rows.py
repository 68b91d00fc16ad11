"""What docs/referee.json says of a trainer of language models is what its equation says: cosine,
scale and bias anew, from the equation's name, by enumeration, without the trainer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.verify.referee.candidates import list_equations
from fledge.verify.referee.equations import Scores
from fledge.verify.referee.pair_equations import SQUARE, name_pair
from fledge.verify.referee.peers import select_hearings
from fledge.verify.referee.question import Hearing
from fledge.verify.referee.ruling import list_variants
from fledge.verify.referee.steps import enumerate_steps

DOCS = Path(__file__).resolve().parents[3] / "docs"
ROWS = [
    row
    for row in json.loads((DOCS / "referee.json").read_text())["rows"]
    if row["peer"].split(":")[0] in ("trl", "verl", "openrlhf") and row.get("variance")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['peer']} {row['setting']}")
def test_the_figures_of_a_row_are_those_of_its_equation(row: dict[str, Any]) -> None:
    [hearing] = [
        each
        for each in select_hearings(row["peer"], {})
        if isinstance(each, Hearing) and each.told == row["setting"]
    ]
    problem = hearing.problem
    factor, _, name = row["equation"].rpartition(" × ")
    factor = float(factor) if factor.replace(".", "").isdigit() else 1.0
    name = name if factor != 1.0 else row["equation"]
    true = problem.gradient().flatten()
    # Of sequences left out the lengths may be counted or not: one name for two equations.
    possible = []
    for variant, scores in list_variants(problem):
        papers = dict(list_equations(hearing.family, problem))
        if (equation := papers.get(name.removesuffix(variant))) and name.endswith(variant):
            law = enumerate_steps(hearing)
            expected = factor * torch.stack([m * equation(scores, step) for step, m in law]).sum(0)
            scale = float(expected @ true / true.square().sum())
            bias = float((expected - scale * true).norm() / scale / true.norm())
            possible.append(pytest.approx((scale, bias, 1 / (1 + bias**2) ** 0.5), abs=1e-5))
    assert (row["scale"], row["bias"], row["cosine"]) in possible


def test_the_rows_of_grpo_are_there() -> None:
    """Leaving its own sample in, a group of three gives ⅔ of the gradient, and a constant length of
    two half of that.
    """
    told = {row["setting"]: row for row in ROWS if row["peer"] == "trl:grpo"}
    assert len(told) == 19
    plain = told["loss_type=dr_grpo scale_rewards=none"]
    assert (plain["scale"], plain["bias"]) == pytest.approx((1 / 3, 0), abs=1e-6)


def test_the_two_readings_of_ipo_lie_as_far_apart_as_the_page_says() -> None:
    [hearing] = select_hearings("trl:dpo", {"loss_type": "ipo"})
    assert isinstance(hearing, Hearing)
    papers = dict(list_equations("pairs", hearing.problem))
    scores = Scores.of(hearing.problem)
    law = list(enumerate_steps(hearing))
    summed, averaged = (
        torch.stack([m * papers[name_pair(SQUARE, mean)](scores, step) for step, m in law]).sum(0)
        for mean in (False, True)
    )
    scale = float(averaged @ summed / summed.square().sum())
    bias = float((averaged - scale * summed).norm() / scale / summed.norm())
    cosine = 1 / (1 + bias**2) ** 0.5
    said = f"a cosine of {cosine:.4f}, a scale of {scale:.4f} and a bias of {bias:.1%}"
    assert said in " ".join((DOCS / "referee.md").read_text().split())
