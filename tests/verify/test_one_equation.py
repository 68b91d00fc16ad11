"""The rows of one equation hold, in float64 and float32; and each fails when what it measures is
broken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import fledge.verify.one_equation as one_equation
import fledge.verify.student as student
from fledge.algorithms.likelihood.distillation import Distillation
from fledge.algorithms.likelihood.expectation_maximisation import ExpectationMaximisation
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.fit import nll
from fledge.trajectories import Trajectories
from fledge.verify.laboratory import Hardware
from fledge.verify.one_equation import ONE_EQUATION


@pytest.mark.parametrize("row", ONE_EQUATION, ids=lambda row: row.__name__)
def test_every_row_holds(row: Any) -> None:
    for dtype in (torch.float64, torch.float32):
        measured = row(Hardware("cpu", dtype))
        assert measured.holds, measured
    assert {"U1", "U2", "U3", "U4", "U5", "U6", "U7"} >= {measured.id.partition(".")[0]}


def test_every_system_of_the_equation_has_a_row() -> None:
    systems = {row.__name__[:2].upper() for row in ONE_EQUATION}
    assert systems == {f"U{number}" for number in range(1, 8)}


class RewardSquared(Reinforce):
    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        return super().update(batch.replace(reward=batch.reward**2), between_steps)


class RewardSquaredEM(ExpectationMaximisation):
    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        return super().update(batch.replace(reward=batch.reward**2), between_steps)


class HalfTheRows(Supervised):
    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        return super().update(batch[: len(batch) // 2], between_steps)


class FewLessons(Distillation):
    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        return super().update(batch[:3], between_steps)


class OneStep(ExpectationMaximisation):
    def __init__(self, *parts: Any, settings: Any, **beside: Any) -> None:
        super().__init__(*parts, settings=settings.replace(updates_per_step=1, epochs=1), **beside)


def squared(logp: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    return nll(logp, weight * weight)


@pytest.mark.parametrize(
    ("module", "name", "broken", "rows"),
    [
        (one_equation, "Supervised", HalfTheRows, ["u1_maximum_likelihood"]),
        (one_equation, "Reinforce", RewardSquared, [
            "u3_policy_gradient", "u4_regularised_optimum",
        ]),
        (one_equation, "nll", squared, ["u5_label_smoothing"]),
        (student, "nll", squared, [
            "u5_reward_augmented", "u5_reweighting", "u6_posterior_regularisation",
        ]),
        (one_equation, "ExpectationMaximisation", RewardSquaredEM, ["u2_posterior"]),
        (one_equation, "ExpectationMaximisation", OneStep, ["u2_posterior"]),
        (one_equation, "Distillation", FewLessons, ["u7_distillation"]),
    ],
)  # fmt: skip
def test_a_row_fails_where_what_it_measures_is_broken(
    module: Any, name: str, broken: Any, rows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, broken)
    for row in rows:
        assert not getattr(one_equation, row)(Hardware()).holds, row
