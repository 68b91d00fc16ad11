"""The ensemble beside networks one at a time and torch's own normal distribution; and its sureness
held against a world whose noise is known, on steps that it did not learn from.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from fledge.errors import UserError
from fledge.evaluate.foretelling import measure_foretelling
from fledge.models.control.random_distillation import RandomDistillation
from fledge.models.control.running_scale import RunningScale
from fledge.models.control.world_ensemble import MemberSteps, WorldEnsemble, disagreement
from fledge.trajectories import Trajectories
from fledge.worlds.world import Box, Choices
from tests.subjects import seeded

PLANE = Box(torch.full((2,), -torch.inf), torch.full((2,), torch.inf))
ONE = Box(-torch.ones(1), torch.ones(1))


def ensemble(
    members: int = 3, action: Box | Choices = ONE, *, sampled: bool = True
) -> WorldEnsemble:
    made = WorldEnsemble(
        PLANE, action, generator=seeded(0), members=members, widths=(16, 16), sampled=sampled
    )
    x = torch.randn(50, 2, generator=seeded(1))
    made.watch(x, x[:, 0], 3 * x + 1)
    return made


def some_steps(members: int, rows: int = 7, choices: bool = False) -> MemberSteps:
    random = seeded(2)
    shape = (rows, members)
    action = (
        torch.randint(3, shape, generator=random)
        if choices
        else torch.randn(*shape, 1, generator=random)
    )
    return MemberSteps(
        torch.randn(*shape, 2, generator=random), action, torch.randn(shape, generator=random),
        torch.randn(*shape, 2, generator=random), torch.rand(shape, generator=random) < 0.3,
    )  # fmt: skip


@pytest.mark.parametrize("choices", [True, False])
def test_the_loss_is_that_of_each_member_alone(choices: bool) -> None:
    """Its layers written out, torch's Normal and Bernoulli, sums over the members."""
    world = ensemble(3, Choices((3,)) if choices else ONE)
    rows = some_steps(3, choices=choices)
    nats, ends = world.losses(rows)
    expected, over = torch.zeros(7), torch.zeros(7)
    for e in range(3):
        obs, after = rows.obs[:, e], rows.next_obs[:, e]
        done = rows.action[:, e]
        done = torch.nn.functional.one_hot(done, 3).float() if choices else done
        x = torch.cat([(obs - world.seen.mean) / world.seen.spread, done], 1)
        for i, (weight, bias) in enumerate(
            zip(world.layers.weight, world.layers.bias, strict=True)
        ):
            x = x @ weight[e] + bias[e]
            x = x * x.sigmoid() if i < 2 else x
        high, low = 0.5, -10.0
        bounded = high - torch.log1p((high - x[:, 3:]).exp())
        spread = (low + torch.log1p((bounded - low).exp())).mul(0.5).exp()
        target = torch.cat([after - obs, rows.reward[:, e, None]], 1)
        target = (target - world.changed.mean) / world.changed.spread
        expected -= Normal(x[:, :3], spread).log_prob(target).sum(1)
        y = (after - world.seen.mean) / world.seen.spread
        y = y @ world.ends.weight[0][e] + world.ends.bias[0][e]
        y = (y * y.sigmoid()) @ world.ends.weight[1][e] + world.ends.bias[1][e]
        chance = y[:, 0].sigmoid()
        over -= torch.where(rows.terminated[:, e], chance, 1 - chance).log()
    torch.testing.assert_close(nats, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ends, over, rtol=1e-4, atol=1e-5)


def test_a_member_is_kept_to_for_a_whole_sequence() -> None:
    """Three steps of means: each member's way is its own, from the same beginning."""
    world = ensemble(sampled=False)
    state = world.begin(torch.tensor([[0.3, -0.2]]), 2)
    assert state.shape == (3, 2, 2)
    action = torch.tensor([[0.5], [-0.5]])
    for _ in range(3):
        before = state
        state = world.step(state, action, seeded(0)).state
        for e in range(3):
            alone = world.foretell(before, action).mean[e]
            moved = before[e] + world.changed.unscale(alone)[:, :2]
            torch.testing.assert_close(state[e], moved)
    apart = disagreement(world, state)
    own = torch.stack([state[:, r].std(0, correction=0) / world.seen.spread for r in range(2)])
    torch.testing.assert_close(apart, own.mean(1)[None])
    assert float(disagreement(world, world.begin(torch.zeros(1, 2), 1))) == 0


def linear_steps(n: int, seed: int) -> tuple[torch.Tensor, ...]:
    """s′ = s + 0.3 Rs + 0.1 a + noise of (0.05 and 0.2 + 0.1 |s₁|); reward s₁ + noise of 0.3."""
    random = seeded(seed)
    obs = torch.randn(n, 2, generator=random)
    action = 2 * torch.rand(n, 1, generator=random) - 1
    turned = torch.stack([obs[:, 1], -obs[:, 0]], 1)
    spread = torch.stack([torch.full((n,), 0.05), 0.2 + 0.1 * obs[:, 0].abs()], 1)
    after = obs + 0.3 * turned + 0.1 * action + spread * torch.randn(n, 2, generator=random)
    reward = obs[:, 0] + 0.3 * torch.randn(n, generator=random)
    return obs, action, reward, after, torch.cat([spread, torch.full((n, 1), 0.3)], 1)


def fitted() -> WorldEnsemble:
    """3,000 steps, 700 optimizer steps."""
    world = WorldEnsemble(PLANE, ONE, generator=seeded(3), members=3, widths=(24, 24))
    obs, action, reward, after, _ = linear_steps(3000, 4)
    world.watch(obs, reward, after)
    optimizer, random = torch.optim.Adam(world.parameters(), 5e-3), seeded(5)
    no = torch.zeros(3000, dtype=torch.bool)
    for step in range(700):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / 700)
        pick = torch.randint(3000, (128, 3), generator=random)
        rows = MemberSteps(obs[pick], action[pick], reward[pick], after[pick], no[pick])
        nats, ends = world.losses(rows)
        optimizer.zero_grad()
        (nats.mean() + ends.mean() + world.cost_of_bounds()).backward()
        optimizer.step()
    return world


def test_what_it_is_sure_of_comes_as_often_as_it_says() -> None:
    """2,000 steps that it did not learn from, of a world with known noise, another in every place:
    z-scores of mean 0 ± 0.15 and square 1 ± 0.2; nats within 0.15 a step of those of the true
    distribution; each interval holds its share within 0.04, which chance alone would leave once in
    10⁴. Half as sure, it misses them by more than 0.1.
    """
    world = fitted()
    obs, action, reward, after, spread = linear_steps(2000, 9)
    with torch.no_grad():
        mean, said = world.mix(obs, action)
    came = torch.cat([after, reward[:, None]], 1)
    away = (came - mean) / said
    assert away.mean(0).abs().max() < 0.15
    assert (away.square().mean(0) - 1).abs().max() < 0.2
    nats = -Normal(mean, said).log_prob(came).sum(1).mean()
    turned = torch.stack([obs[:, 1], -obs[:, 0]], 1)
    true = torch.cat([obs + 0.3 * turned + 0.1 * action, obs[:, :1]], 1)
    least = -Normal(true, spread).log_prob(came).sum(1).mean()
    assert float(nats - least) < 0.15
    no = torch.zeros(2000, 1, dtype=torch.bool)
    rows = Trajectories(torch.stack([obs, after], 1), action[:, None], ~no, reward[:, None], no, no)
    judged = measure_foretelling(world, rows)
    off = [abs(a - b) for a, b in zip(judged["level"], judged["within"], strict=True)]
    assert max(off) < 0.04
    assert judged["steps"] == [1]
    assert judged["error"][0] < judged["copied"][0]
    world.changed.spread.mul_(2.0)  # as if it were half as sure
    doubtful = measure_foretelling(world, rows)
    assert max(abs(a - b) for a, b in zip(doubtful["level"], doubtful["within"], strict=True)) > 0.1


def test_the_error_over_the_horizon_is_that_of_a_way_told_step_by_step() -> None:
    """Members that say a change of 1 each step, in a world that moves by 2: off by 1, 2, 3."""
    world = WorldEnsemble(PLANE, ONE, generator=seeded(0), members=2, widths=(4,))
    with torch.no_grad():
        for part in (*world.layers.weight, *world.layers.bias):
            part.zero_()
    world.changed.mean.copy_(torch.tensor([1.0, 1.0, 0.0]))
    obs = 2 * torch.arange(4.0)[None, :, None].expand(2, 4, 2)
    no = torch.zeros(2, 3, dtype=torch.bool)
    rows = Trajectories(obs, torch.zeros(2, 3, 1), ~no, torch.zeros(2, 3), no, no)
    judged = measure_foretelling(world, rows, horizon=3)
    assert judged["error"] == pytest.approx([1.0, 2.0, 3.0])
    assert judged["copied"] == pytest.approx([2.0, 4.0, 6.0])


def test_scales_are_counted_as_if_all_had_come_at_once() -> None:
    x = 5 + 3 * torch.randn(90, 4, generator=seeded(0))
    x[:, 2] = 7.0
    scale = RunningScale(4)
    for part in x.split([1, 20, 0, 69]):
        scale.count_in(part)
    torch.testing.assert_close(scale.mean, x.mean(0))
    expected = x.std(0, correction=0)
    expected[2] = 1.0  # what never changes has no spread
    torch.testing.assert_close(scale.spread, expected)
    torch.testing.assert_close(scale.unscale(scale.scale(x)), x)


def test_what_was_seen_often_is_not_new() -> None:
    """Distilled on one half of the plane: the other half is stranger there, by a factor of 3."""
    random, known = seeded(0), torch.randn(400, 2, generator=seeded(1))
    known[:, 0] = known[:, 0].abs()
    novelty = RandomDistillation(2, generator=random)
    trained = [p for p in novelty.parameters() if p.requires_grad]
    assert len(trained) == len(list(novelty.learned.parameters()))
    optimizer = torch.optim.Adam(trained, 1e-2)
    for _ in range(150):
        error = novelty.error(known)
        novelty.settle(error)
        optimizer.zero_grad()
        error.mean().backward()
        optimizer.step()
    strange = known * torch.tensor([-1.0, 1.0])
    assert float(novelty(strange).mean()) > 3 * float(novelty(known).mean())


def test_what_can_be_counted_is_no_world_of_numbers() -> None:
    with pytest.raises(UserError, match="algorithm=dyna"):
        WorldEnsemble(Choices((3,)), Choices((2,)), generator=seeded(0))
    assert math.isfinite(float(ensemble(1).cost_of_bounds()))
