"""What a time buys: one family of sizes, a last run that is larger than all, and more where several
processes share.
"""

from __future__ import annotations

import pytest

from fledge.errors import UserError
from fledge.recipes.studies.scale_plan import FEWEST_STEPS, SIZES, describe_size, plan_sweep


def time_step(layers: int, width: int) -> float:
    """Four milliseconds, and 5 GFLOP a second."""
    return 0.004 + 6 * 512 * layers * 13 * width**2 / 5e9


@pytest.mark.parametrize("minutes", [8, 40])
def test_a_plan_holds_its_time_and_foretells_something_larger(minutes: float) -> None:
    plan = plan_sweep(minutes, 4, 512, 260, 128, 1, time_step)
    runs = (*plan.runs, plan.foretold)
    assert len(plan.runs) >= 12
    assert min(run.steps for run in runs) >= FEWEST_STEPS
    assert sum(4 + run.steps * time_step(run.layers, run.width) for run in runs) <= 60 * minutes
    largest = max(run.parameters for run in plan.runs)
    assert plan.foretold.parameters >= 1.5 * largest
    flop = [run.parameters * run.steps for run in runs]
    assert flop[-1] == pytest.approx(2 * max(flop[:-1]), rel=0.02)
    assert len({run.parameters for run in plan.runs}) >= 5
    fields = [describe_size(run.layers, run.width) for run in runs]
    assert {each["heads"] for each in fields} == {2}
    assert {each["mlp_width"] / each["width"] for each in fields} == {3}


def test_two_processes_buy_more_than_one() -> None:
    one, two = (plan_sweep(20, 4, 512, 260, 128, each, time_step) for each in (1, 2))
    assert sum(run.steps * run.parameters for run in two.runs) > 1.2 * sum(
        run.steps * run.parameters for run in one.runs
    )


def test_every_size_has_heads_of_even_width() -> None:
    for layers, width in SIZES:
        heads = describe_size(layers, width)["heads"]
        assert heads >= 2
        assert width % (2 * heads) == 0
    with pytest.raises(UserError, match="minutes=1 is too short: the smallest sweep of 4 budgets"):
        plan_sweep(1, 4, 512, 260, 128, 1, time_step)
