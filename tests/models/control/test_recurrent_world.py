"""The recurrent world's distances and resets, and that a hidden direction is carried along."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from fledge.errors import UserError
from fledge.models.control.recurrent_world import RecurrentWorld, Windows, kl_between
from fledge.worlds.world import Box, Choices, Space
from tests.subjects import seeded

NUMBERS = Box(torch.full((1,), -torch.inf), torch.full((1,), torch.inf))


def made(observation: Space = NUMBERS, seed: int = 0) -> RecurrentWorld:
    return RecurrentWorld(
        observation, Choices((2,)), generator=seeded(seed), deterministic=24, stochastic=4,
        width=24, free_nats=0.1,
    )  # fmt: skip


def windows(obs: torch.Tensor, seed: int = 1) -> Windows:
    n, t = obs.shape[0], obs.shape[1] - 1
    no = torch.zeros(n, t, dtype=torch.bool)
    action = torch.randint(2, (n, t), generator=seeded(seed))
    noise = torch.randn(n, t + 1, 4, generator=seeded(seed + 1))
    return Windows(obs, action, torch.zeros(n, t), no, ~no, noise)


def test_the_distance_of_two_normals_is_torchs() -> None:
    numbers = torch.randn(4, 5, 3, generator=seeded(0))
    mean, other = numbers[0], numbers[1]
    spread, of = numbers[2].exp(), numbers[3].exp()
    expected = kl_divergence(Normal(mean, spread), Normal(other, of)).sum(1)
    torch.testing.assert_close(kl_between(mean, spread, other, of), expected)


def test_after_an_end_nothing_of_before_is_known() -> None:
    """Where a step is nobody's, what follows is the same as if the stretch had begun there."""
    world, obs = made(), torch.randn(3, 7, 1, generator=seeded(4))
    rows = windows(obs)
    rows.chosen[:, 2] = False
    whole, _, _ = world.follow(rows)
    after, _, _ = world.follow(
        Windows(
            obs[:, 3:], rows.action[:, 3:], rows.reward[:, 3:], rows.terminated[:, 3:],
            rows.chosen[:, 3:], rows.noise[:, 3:],
        )
    )  # fmt: skip
    torch.testing.assert_close(whole[:, 3:], after)
    other = windows(obs)
    assert not torch.allclose(world.follow(other)[0][:, 3:], after)


def test_rewards_and_ends_of_steps_that_are_nobodys_do_not_count() -> None:
    world, rows = made(), windows(torch.randn(3, 7, 1, generator=seeded(4)))
    rows.chosen[:, 2] = False
    clean, _ = world.losses(rows)
    rows.reward[:, 2] = 1e6
    rows.terminated[:, 2] = True
    dirty, _ = world.losses(rows)
    for one, other in zip(clean, dirty, strict=True):
        assert torch.equal(one, other)
    rows.reward[:, 3] = 1e6
    assert not torch.equal(world.losses(rows)[0].reward, clean.reward)


@pytest.mark.parametrize("shape", [(1, 24, 24), (3, 16, 16)])
def test_pictures_go_in_and_come_out(shape: tuple[int, ...]) -> None:
    box = Box(torch.zeros(shape, dtype=torch.uint8), torch.full(shape, 255, dtype=torch.uint8))
    world = made(box)
    obs = torch.randint(256, (2, 4, *shape), generator=seeded(0)).to(torch.uint8)
    nats, states = world.losses(windows(obs))
    assert states.shape == (2, 4, world.width)
    assert all(each.shape == (2,) and bool(each.isfinite().all()) for each in nats)


def test_a_pixel_is_a_gaussian_of_a_fifth_of_all_that_there_is() -> None:
    """Nats of a picture are those of torch's Gaussian, less those of a picture that is met."""
    shape = (1, 16, 16)
    box = Box(*(torch.full(shape, n, dtype=torch.uint8) for n in (0, 255)))
    world = made(box)
    obs = torch.randint(256, (2, 3, *shape), generator=seeded(5), dtype=torch.uint8)
    nats, states = world.losses(windows(obs))
    shown = world.out(states.flatten(0, 1)).view(obs.shape)
    seen, pixel = obs.double() / 255 - 0.5, Normal(shown.double(), 0.2)
    expected = (pixel.log_prob(shown.double()) - pixel.log_prob(seen)).flatten(1).sum(1)
    torch.testing.assert_close(nats.seen.double(), expected, rtol=1e-5, atol=1e-4)


def test_what_was_seen_before_is_carried_along() -> None:
    """A number that goes up or down by ⅓ a step, wherever it began: no single observation says
    which. Foretold after three of them, one to three steps ahead, it is off by less than half of
    what a guess without memory is.
    """
    world = made(seed=3)
    optimizer, random = torch.optim.Adam(world.parameters(), 4e-3), seeded(6)
    t = torch.arange(6.0)
    for step in range(220):
        up = 2.0 * torch.randint(2, (32, 1), generator=random) - 1
        start = torch.randn(32, 1, generator=random)
        obs = (start + up * t)[..., None] / 3
        nats, _ = world.losses(windows(obs, seed=step + 10))
        optimizer.zero_grad()
        sum(each.sum() for each in nats).backward()  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.step()
    up = 2.0 * torch.randint(2, (200, 1), generator=random) - 1
    obs = (torch.randn(200, 1, generator=random) + up * t)[..., None] / 3
    with torch.no_grad():
        rows = windows(obs[:, :3], seed=1)
        state = world.follow(rows)[0][:, -1]
        for k in range(3):
            done = world.as_numbers(torch.zeros(200, dtype=torch.long))
            state = world.imagine(state, done, torch.zeros(200, 4))
            off = (world.out(state) - obs[:, 3 + k]).square().mean().sqrt()
            assert float(off) < 0.5 * (k + 1) / 3  # who knows no direction is off by (k + 1)/3


def test_pictures_of_another_size_are_said() -> None:
    with pytest.raises(UserError, match="16, 24, 32"):
        made(Box(*(torch.full((1, 20, 20), e, dtype=torch.uint8) for e in (0, 255))))
    with pytest.raises(UserError, match="psrl"):
        made(Choices((4,)))
