"""Actions stay between their bounds, and the density of a squashed Gaussian is a density, in the
world's own units.
"""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from fledge.errors import UserError
from fledge.models.control.squashed_actor import DeterministicActor, GaussianActor
from fledge.worlds.world import Box, Choices
from tests.subjects import seeded

OBSERVATION = Box(torch.full((3,), -1.0), torch.full((3,), 1.0))
ACTION = Box(torch.tensor([-2.0, 0.0]), torch.tensor([6.0, 0.5]))


def gaussian(action: Box = ACTION, mean: float = 0.0, log_std: float = 0.0) -> GaussianActor:
    """With the same mean and spread of u in every state, in float64 throughout."""
    actor = GaussianActor(OBSERVATION, action, generator=seeded(0), widths=(4,)).double()
    # the encoder would make float32 of everything
    actor.encoder = torch.nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    last = actor.network[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(
            torch.tensor([mean, log_std], dtype=torch.float64).repeat_interleave(actor.bounds.width)
        )
    return actor


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (1.3, -1.0), (-0.7, 0.5), (0.2, -3.0)])
def test_the_density_integrates_to_1(mean: float, log_std: float) -> None:
    """The trapezoid rule over the actions that 200,001 amounts of noise from −9 to 9 make, in units
    of the bounds, −2 to 6.
    """
    actor = gaussian(Box(torch.tensor([-2.0]), torch.tensor([6.0])), mean, log_std)
    noise = torch.linspace(-9, 9, 200_001, dtype=torch.float64)[:, None]
    action, logp = actor(torch.zeros(len(noise), 3, dtype=torch.float64), noise)
    assert float(
        torch.trapezoid(logp.exp(), actor.bounds.to_unit(action)[:, 0]).detach()
    ) == pytest.approx(1, abs=1e-6)


def test_the_density_is_torchs_own_of_the_same_transformation() -> None:
    actor = gaussian(mean=0.4, log_std=-0.5)
    noise = torch.randn(200, 2, generator=seeded(1), dtype=torch.float64)
    action, logp = actor(torch.zeros(200, 3, dtype=torch.float64), noise)
    u = Normal(
        torch.full((2,), 0.4, dtype=torch.float64),
        torch.full((2,), -0.5, dtype=torch.float64).exp(),
    )
    known = TransformedDistribution(Independent(u, 1), [TanhTransform()])
    torch.testing.assert_close(
        logp, known.log_prob(actor.bounds.to_unit(action)), rtol=1e-8, atol=1e-8
    )
    middle = (
        torch.tensor([2.0, 0.25]).double()
        + torch.tensor([4.0, 0.25]).double() * torch.tensor(0.4).double().tanh()
    )
    torch.testing.assert_close(actor.best(torch.zeros(1, 3).double())[0], middle, rtol=1e-6, atol=0)


def test_far_out_the_density_and_its_gradient_stay_numbers() -> None:
    actor = gaussian(mean=300.0, log_std=9.0)  # the spread is held at e²
    action, logp = actor(
        torch.zeros(5, 3).double(), 50 * torch.randn(5, 2, generator=seeded(0)).double()
    )
    (logp + action.sum(1)).sum().backward()
    assert bool(logp.isfinite().all())
    assert all(
        p.grad is not None and bool(p.grad.isfinite().all()) for p in actor.network.parameters()
    )


def test_actions_stay_between_their_bounds() -> None:
    obs, noise = (
        torch.randn(500, 3, generator=seeded(0)),
        10 * torch.randn(500, 2, generator=seeded(1)),
    )
    random = GaussianActor(OBSERVATION, ACTION, generator=seeded(0))
    fixed = DeterministicActor(OBSERVATION, ACTION, generator=seeded(0))
    for action in (
        random(obs, noise)[0],
        fixed(obs),
        fixed(obs, noise),
        random.bounds.draw_anywhere(500, seeded(2)),
    ):
        assert action.shape == (500, 2)
        assert bool((action >= ACTION.low).all())
        assert bool((action <= ACTION.high).all())
        torch.testing.assert_close(random.bounds.to_world(random.bounds.to_unit(action)), action)
    assert not torch.equal(fixed(obs, noise), fixed(obs))


def test_an_action_of_one_number_without_dimensions_keeps_its_shape() -> None:
    actor = DeterministicActor(
        OBSERVATION, Box(torch.tensor(-3.0), torch.tensor(1.0)), generator=seeded(0)
    )
    action = actor(torch.zeros(4, 3))
    assert action.shape == (4,)
    torch.testing.assert_close(action, torch.full((4,), -1.0))  # tanh of 0 is the middle
    torch.testing.assert_close(actor.bounds.to_unit(action), torch.zeros(4, 1))


@pytest.mark.parametrize(
    "action",
    [
        Choices((3,)),
        Box(torch.tensor([-torch.inf]), torch.tensor([1.0])),
        Box(torch.zeros(2), torch.zeros(2)),
    ],
)
def test_actions_without_bounds_are_refused(action: Box | Choices) -> None:
    with pytest.raises(UserError, match="finite bound"):
        GaussianActor(OBSERVATION, action, generator=seeded(0))
