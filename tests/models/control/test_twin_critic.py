"""Two critics that differ, see actions in units of their bounds, and can be asked without being
taught.
"""

from __future__ import annotations

import torch

from fledge.models.control.twin_critic import TwinCritic
from fledge.worlds.world import Box
from tests.subjects import seeded

OBSERVATION = Box(torch.full((3,), -1.0), torch.full((3,), 1.0))
OBS = torch.randn(6, 3, generator=seeded(0))
ACTION = torch.rand((6, 2), generator=seeded(1))


def critic(low: float, high: float) -> TwinCritic:
    action = Box(torch.full((2,), low), torch.full((2,), high))
    return TwinCritic(OBSERVATION, action, generator=seeded(2), widths=(8,))


def test_the_two_begin_apart() -> None:
    q = critic(0, 1)(OBS, ACTION)
    assert q.shape == (2, 6)
    assert bool((q[0] != q[1]).all())
    torch.testing.assert_close(critic(0, 1).first(OBS, ACTION), q[0])


def test_a_world_in_other_units_is_judged_the_same() -> None:
    torch.testing.assert_close(critic(-50, 150)(OBS, ACTION * 200 - 50), critic(0, 1)(OBS, ACTION))


def test_while_held_still_the_gradient_goes_to_the_action_alone_and_is_the_same() -> None:
    asked, taught = critic(0, 1), critic(0, 1)
    gradients = []
    for one in (asked, taught):
        action = ACTION.clone().requires_grad_(True)
        if one is asked:
            with one.hold_still():
                q = one(OBS, action)
        else:
            q = one(OBS, action)
        q.sum().backward()
        gradients.append(action.grad)
    torch.testing.assert_close(*gradients)
    assert all(p.grad is None and p.requires_grad for p in asked.parameters())
    assert all(p.grad is not None for p in taught.parameters())
