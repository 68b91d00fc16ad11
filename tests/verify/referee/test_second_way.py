"""The second way knows no equation: it sees a gradient that is not the loss's, and a generation
that follows another law than it is said to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor

from fledge.exact.problem import Problem
from fledge.verify.referee.equations import name_policy
from fledge.verify.referee.question import Answer, Hearing, Step, referee_problem
from fledge.verify.referee.ruling import Ruling, rule
from fledge.verify.referee.second_way import differentiate
from tests.verify.referee.stub import StubPeer


@dataclass
class Reinforce:
    """r·log π by autograd, its mean over rows; its gradient or its law may be another."""

    problem: Problem
    times: float = 1.0
    shown: bool = True  # whether it returns a loss
    skewed: bool = False  # whether what it draws is not what it says
    name: str = "stub:reinforce"
    version: str = "1"
    pads_left: bool = False

    def answer(self, step: Step) -> Answer:
        table = self.problem.logits.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(self.lose(step, table), table)
        return Answer(-slope * self.times)

    def lose(self, step: Step, table: Tensor) -> Tensor:
        words = list(step.words)
        return -(self.problem.log_prob(table)[words] * self.problem.reward[words]).mean()

    def draw(self, count: int) -> list[int]:
        law = self.problem.prob()
        law = law.square() / law.square().sum() if self.skewed else law
        random = torch.Generator().manual_seed(1)
        return torch.multinomial(law, count, True, generator=random).tolist()


class WithLoss(Reinforce):
    def losses(self, step: Step, tables: Sequence[Tensor]) -> list[float]:
        return [float(self.lose(step, table)) for table in tables]


def hear(build: partial[Reinforce]) -> Ruling:
    claimed = name_policy("r", "sum over tokens / rows")
    return rule(Hearing("stub", {}, "unbiased", claimed, "policy", referee_problem(), build))


def test_differences_of_a_polynomial_are_exact() -> None:
    table = torch.tensor([[0.3, -1.2], [2.0, 0.7]], dtype=torch.float64)
    slope = differentiate(lambda tables: [float(t.pow(4).sum()) for t in tables], table)
    assert torch.allclose(slope, 4 * table.pow(3), atol=1e-9)


def test_a_gradient_that_is_the_loss_s_agrees() -> None:
    ruling = hear(partial(WithLoss))
    assert ruling.second.by == "differences"
    assert ruling.second.apart < 1e-6
    assert ruling.faults == ()


def test_a_gradient_that_is_not_the_loss_s_is_named() -> None:
    ruling = hear(partial(WithLoss, times=1.02))
    assert not ruling.second.agrees
    assert any("not that of the loss it returns: 2.0% apart" in said for said in ruling.faults)


def test_samples_hold_the_enumerated_scale_in_their_interval() -> None:
    """Four standard errors: a false alarm in 16,000 seeds, and the seed is fixed."""
    ruling = hear(partial(Reinforce))
    assert ruling.second.by == "sampling"
    assert ruling.second.low < 1 < ruling.second.high
    assert ruling.faults == ()


def test_a_generation_of_another_law_is_named() -> None:
    ruling = hear(partial(Reinforce, skewed=True))
    assert any(said.startswith("samples give the scale") for said in ruling.faults), ruling


def test_padding_on_the_left_and_masked_tokens_are_told_from_padding_on_the_right() -> None:
    class Moved(StubPeer):
        def answer(self, step: Step) -> Answer:
            said = super().answer(step)
            return Answer(said.gradient * (1 + 0.1 * step.left + 0.2 * step.garbage), said.leak)

    claimed = name_policy("(r − mean)/(std + ε)", "mean over all tokens")
    ruling = rule(Hearing("stub", {}, "", claimed, "policy", referee_problem(), Moved))
    assert ruling.left == pytest.approx(0.3)
    assert ruling.garbage == pytest.approx(0.2)
    assert ruling.padding < 1e-12
    assert any("padding on the left is counted" in said for said in ruling.faults)
    assert any(
        "what stands under the mask changes the gradient by 20.0%" in said for said in ruling.faults
    )
