"""A function that is only a loss before the referee: what it does under the mask is seen."""

from __future__ import annotations

import pytest
from torch import Tensor

from fledge.exact.problem import Problem
from fledge.verify.referee.equations import name_policy
from fledge.verify.referee.loss_rows import LossPeer, Rows
from fledge.verify.referee.question import Hearing, Step, referee_problem
from fledge.verify.referee.ruling import rule


class StubLoss(LossPeer):
    """Leave-one-out, summed over tokens, with or without one fault."""

    name, version = "stub:loss", "1"

    def __init__(self, problem: Problem, fault: str) -> None:
        super().__init__(problem)
        self.fault = fault

    def lose(self, rows: Rows, step: Step) -> Tensor:
        grouped = rows.reward.view(step.groups, -1)
        size = grouped.shape[1]
        worth = ((grouped - grouped.mean(1, keepdim=True)) * size / (size - 1)).flatten()
        ratio = (rows.logp - rows.old).exp()
        if self.fault != "no mask":
            ratio = ratio * rows.mask
        width = rows.mask.shape[1] if self.fault == "width" else 1
        return -(ratio * worth[:, None]).sum() / len(step.words) / width


def hear(fault: str) -> tuple[str, ...]:
    equation = name_policy("r − mean of the others", "sum over tokens / rows")
    problem = referee_problem()
    row = Hearing("stub:loss", {}, "", equation, "policy", problem, lambda p: StubLoss(p, fault))
    return rule(row).faults


def test_a_right_loss_has_no_fault() -> None:
    assert hear("") == ()


@pytest.mark.parametrize(
    ("fault", "words"),
    [("no mask", "lies after a sequence's end"), ("width", "padding is counted")],
)
def test_what_it_does_with_padding_is_named(fault: str, words: str) -> None:
    assert any(words in said for said in hear(fault))
