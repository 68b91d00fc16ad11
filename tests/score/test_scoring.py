"""What is known of a batch before it is learned from, by hand: distances without a reference,
groups, and means over them.
"""

from __future__ import annotations

import pytest
import torch

from fledge.score.scoring import groups, kl_to, mean_over_groups, sum_rewards, zero_spread_groups
from fledge.trajectories import Sampled
from tests.every_algorithm import policy
from tests.subjects import learner, rollouts


def test_without_a_reference_the_policy_is_at_no_distance() -> None:
    actor = policy()
    kl, figures = kl_to(None, Sampled.of(rollouts(actor)), learner(actor))
    assert len(figures) == 2
    assert set(figures.values()) == {0.0}
    assert not kl.any()


def test_a_group_counts_once_however_many_rows_it_has() -> None:
    """Groups of one, two and three rows with 6, 3 and 0 at each row: the mean is 3, of rows it
    would be 2.
    """
    group = torch.tensor([7, 2, 2, 5, 5, 5])
    x = torch.tensor([6.0, 3.0, 3.0, 0.0, 0.0, 0.0]).double()
    assert mean_over_groups(x, group) == pytest.approx(3)


def test_rows_earn_what_stands_on_chosen_steps_and_a_batch_that_does_not_say_is_one_group() -> None:
    batch = rollouts(policy())[:4]
    by_hand = [
        float(reward[own].sum()) for reward, own in zip(batch.reward, batch.chosen, strict=True)
    ]
    assert sum_rewards(
        batch.replace(reward=torch.where(batch.chosen, batch.reward, 9.0))
    ).tolist() == pytest.approx(by_hand)
    assert groups(batch.replace(group=None)).tolist() == [0, 0, 0, 0]
    assert batch.group is not None
    first = (batch.group == batch.group[0])[:, None]
    flat = batch.replace(reward=torch.where(first, 0.0, batch.reward))
    assert zero_spread_groups(flat) == 0.5
