"""A mean over nothing is no number: figures are left out or refused, where a 0 would be a perfect score."""

from __future__ import annotations

import pytest
import torch

from fledge.algorithms.action_table import ActionTable, Writing
from fledge.errors import UserError
from fledge.recipes.distill import mean_kl
from fledge.recipes.reward import scale_of
from fledge.recipes.tune import conversation_loss
from fledge.trajectories import from_rows
from fledge.worlds.world import Choices
from tests.subjects import policy_of, transformer

ROWS = [([2, 3, 4], [False, False, False]), ([5, 6], [False, False])]


def test_a_loss_over_no_token_is_refused() -> None:
    policy = policy_of(transformer())
    with pytest.raises(UserError, match="none of the 2 held-out rows"):
        conversation_loss(policy, ROWS)
    batch = from_rows([ids for ids, _ in ROWS], [own for _, own in ROWS])
    with pytest.raises(UserError, match="nothing to compare"):
        mean_kl(policy, policy, [batch])


def test_a_table_that_was_taught_nothing_has_no_error() -> None:
    table = ActionTable(Choices((3,)), Choices((2,)))
    writing = Writing(table)
    assert "error" not in writing.figures()
    writing.teach(0, 0, 1.5)
    assert writing.figures()["error"] == 1.5


@pytest.mark.parametrize("score", [0.0, 0.3, -1e5, 1e-9])
def test_a_reward_model_that_says_one_thing_has_no_scale_and_one_that_says_two_has_one(score: float) -> None:
    assert scale_of(torch.full((64,), score))["std"] == 1.0
    two = score + torch.tensor([-1.0, 1.0]) * max(1e-7, 1e-3 * abs(score))
    assert scale_of(two)["std"] == pytest.approx(2**0.5 * max(1e-7, 1e-3 * abs(score)), rel=0.01)
