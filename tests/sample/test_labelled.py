"""Labelled steps are drawn each as often as any other, with the action that was given for them."""

from __future__ import annotations

import pytest
import torch

from fledge.errors import UserError
from fledge.sample.labelled import Labelled
from tests.subjects import come_as_often_as, seeded


def test_steps_are_drawn_as_often_as_any_other() -> None:
    """60,000 draws from 12 steps, χ² with a false alarm of 1 in 10,000."""
    kept = Labelled()
    with pytest.raises(UserError, match="no step has been labelled"):
        kept.draw(1, seeded(0))
    kept.add(torch.arange(5), torch.arange(5) * 10)
    kept.add(torch.arange(5, 12), torch.arange(5, 12) * 10)
    drawn = kept.draw(60_000, seeded(4))
    assert drawn.chosen.all()
    assert torch.equal(drawn.action, 10 * drawn.obs[:, :1])
    counts = torch.bincount(drawn.action[:, 0] // 10).tolist()
    come_as_often_as(dict.fromkeys(range(12), 1 / 12), dict(enumerate(counts)))


def test_what_is_drawn_has_the_shapes_of_steps_and_is_the_generators_choice_alone() -> None:
    kept = Labelled()
    kept.add(torch.randn(7, 3, 2, generator=seeded(1)), torch.randn(7, 4, generator=seeded(2)))
    one, other = kept.draw(5, seeded(3)), kept.draw(5, seeded(3))
    assert one.obs.shape == (5, 2, 3, 2)
    assert one.action.shape == (5, 1, 4)
    assert torch.equal(one.obs, other.obs)
    again = Labelled()
    again.load_state_dict(kept.state_dict())
    assert len(again) == 7
    assert torch.equal(again.draw(5, seeded(3)).action, one.action)
