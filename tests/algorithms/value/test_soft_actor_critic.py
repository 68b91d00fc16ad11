"""SAC's targets by hand, what truncation and termination are worth, the optimum of a hill in closed
form, and exact resumption.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.algorithms.value.soft_actor_critic import Noisy, SoftActorCritic
from fledge.errors import UserError
from fledge.learner import Learner, Schedule
from fledge.models.control.squashed_actor import GaussianActor
from fledge.models.control.twin_critic import TwinCritic
from fledge.optimizers import adamw
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.sample.replay import Replay
from fledge.stopwatch import Stopwatch
from fledge.worlds.world import Box, Choices, Space
from tests.algorithms.small_worlds import (
    LENGTH,
    ONE_NUMBER,
    Hill,
    KnownHill,
    Ten,
    step_from_known_values,
)
from tests.subjects import figures_close, seeded

STEPS = Choices((LENGTH + 1,))
SETTINGS: dict[str, Any] = {
    "learning_starts": 0,
    "rows_per_update": 64,
    "updates_per_step": 50,
}


class Stop(Exception):
    """The process ends here."""


def learner_of(module: torch.nn.Module, steps: int, micro: int | None) -> Learner:
    schedule = Schedule(0.01, steps, shape="linear", final=0.0)
    return Learner(
        module,
        schedule,
        optimizer=adamw(betas=(0.9, 0.999), weight_decay=0.0),
        clip=0.0,
        rows_per_micro_batch=micro,
    )


def sac(
    observation: Space = STEPS,
    action: Space = ONE_NUMBER,
    *,
    seed: int = 0,
    steps: int = 1000,
    micro: int | None = None,
    critic: TwinCritic | None = None,
    begins_trained: bool = False,
    **settings: Any,
) -> SoftActorCritic:
    random = seeded(seed)
    actor = GaussianActor(observation, action, generator=random, widths=(16,))
    critic = critic or TwinCritic(observation, action, generator=random, widths=(32,))
    return SoftActorCritic(
        actor,
        critic,
        learner_of(actor, steps, micro),
        learner_of(critic, steps, micro),
        Stopwatch(),
        settings=SoftActorCritic.Settings(**SETTINGS | settings),
        replay=Replay(4000, generator=seeded(seed + 1)),
        generator=seeded(seed + 2),
        begins_trained=begins_trained,
    )


def trained(algorithm: SoftActorCritic, world: Ten, updates: int) -> SoftActorCritic:
    episodes = Episodes(world, algorithm, Stopwatch(), steps=11, seed=0)
    for _ in range(updates):
        algorithm.update(next(episodes))
    return algorithm


def test_the_target_is_the_smaller_critic_and_the_entropy_and_only_termination_ends_it() -> None:
    """The parts written out from the networks' own numbers, γ = 0.9, α = e^0.5."""
    algorithm = sac()
    with torch.no_grad():
        algorithm.actor.log_temperature.fill_(0.5)
        for p in algorithm.target_critic.network.parameters():
            p.add_(torch.randn(p.shape, generator=seeded(1)))
    noise = torch.randn((4, 1), generator=seeded(2))
    rows = Noisy(
        obs=torch.tensor([0, 1, 2, 3]),
        action=torch.zeros(4, 1),
        reward=torch.tensor([1.0, 2.0, 3.0, 4.0]),
        next_obs=torch.tensor([1, 2, 3, 4]),
        discount=torch.full((4,), 0.9),
        terminated=torch.tensor([False, True, False, True]),
        weight=torch.ones(4),
        index=torch.arange(4),
        noise=torch.full((4, 1), torch.nan),
        next_noise=noise,
    )
    with torch.no_grad():
        mean, log_std = algorithm.actor.numbers(rows.next_obs)
        u = (mean + log_std.exp() * noise)[:, 0].double()
        a = u.tanh()
        logp = torch.distributions.Normal(
            mean[:, 0].double(), log_std[:, 0].double().exp()
        ).log_prob(u)
        logp = logp - (1 - a.square()).log()
        q = algorithm.target_critic.network(rows.next_obs, a.float()[:, None]).double()
    assert bool((q[0] < q[1]).any() or (q[1] < q[0]).any())
    soft = torch.minimum(q[0], q[1]) - math.exp(0.5) * logp
    expected = torch.stack(
        [1 + 0.9 * soft[0], torch.tensor(2.0), 3 + 0.9 * soft[2], torch.tensor(4.0)]
    )
    torch.testing.assert_close(
        algorithm.target(rows).double(), expected.double(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("terminates", [True, False], ids=["terminated", "truncated"])
def test_what_is_cut_off_counts_and_what_has_ended_does_not(terminates: bool) -> None:
    """2 everywhere where time is up after ten steps, the finite sum where the world ends: there
    nothing is left to learn.
    """
    before, after, figures = step_from_known_values(sac, terminates, off=0.0)
    assert figures["value_loss"] == 0
    assert torch.equal(after, before)
    assert (figures["steps_skipped"], figures["updates"]) == (1, 0)
    before, after, figures = step_from_known_values(sac, terminates, off=1.0)
    assert figures["value_loss"] == 1  # ½ of both critics
    assert figures["updates"] == 1
    seen = slice(LENGTH if terminates else 1)
    assert bool((after[:, seen] < before[:, seen]).all())


def test_on_a_known_hill_mean_spread_and_temperature_are_those_of_the_closed_form() -> None:
    """π ∝ exp(Q/α) is normal around 0.3 with σ² = α/2, and an entropy of ln σ + ½ ln 2πe.

    A target of −1 nat asks for σ = 0.0890, far inside the bounds, and so for α = 0.0158. Within
    0.005, 2 %, 0.02 nats and 5 %.
    """
    algorithm = sac(target_entropy=-1.0, critic=KnownHill(), steps=1200)
    with torch.no_grad():
        # from 1 it would be on its way for another 500 steps
        algorithm.actor.log_temperature.fill_(-3.0)
    trained(algorithm, Ten(8, terminates=False, action=ONE_NUMBER), 24)
    obs = torch.zeros(20_000, dtype=torch.long)
    with torch.no_grad():
        action, logp = algorithm.actor(obs, torch.randn((20_000, 1), generator=seeded(0)))
    sigma = math.exp(-1 - 0.5 * math.log(2 * math.pi * math.e))
    moments = (
        action.mean(),
        action.std(),
        -logp.mean(),
        algorithm.actor.log_temperature.detach().exp(),
    )
    assert float(moments[0]) == pytest.approx(0.3, abs=0.005)
    assert float(moments[1]) == pytest.approx(sigma, rel=0.02)
    assert float(moments[2]) == pytest.approx(-1, abs=0.02)
    assert float(moments[3]) == pytest.approx(2 * sigma**2, rel=0.05)


def test_it_climbs_a_hill_that_it_has_to_find() -> None:
    """r = −(a − 0.3)² and nothing else counts: the best action is within 0.15 of 0.3, where
    rectified critics are nearly flat.
    """
    algorithm = trained(sac(gamma=0.0, steps=600), Hill(8), 12)
    assert float(algorithm.best(torch.zeros(1, dtype=torch.long))) == pytest.approx(0.3, abs=0.15)


def test_the_unit_of_the_actions_changes_no_target() -> None:
    """The same world in metres and in millimetres: the same entropy is wanted, and the same is said
    of it.
    """
    small, large = (
        sac(action=Box(torch.tensor([-reach]), torch.tensor([reach]))) for reach in (0.5, 500.0)
    )
    assert small.target_entropy == large.target_entropy == -1
    obs, noise = torch.arange(20) % (LENGTH + 1), torch.randn(20, 1, generator=seeded(0))
    (near, logp), (far, other) = (one.actor(obs, noise) for one in (small, large))
    torch.testing.assert_close(1000 * near, far)
    torch.testing.assert_close(logp, other)


def test_the_actors_step_teaches_the_critics_nothing() -> None:
    """Only the critics' own loss moves them: the same with an actor that never learns."""
    both = [sac(updates_per_step=1) for _ in range(2)]
    batch = next(
        Episodes(Ten(8, terminates=True, action=ONE_NUMBER), both[0], Stopwatch(), steps=11, seed=0)
    )
    before = [p.detach().clone() for p in both[0].actor.parameters()]
    optimizer = both[1].actor_learner.optimizer
    optimizer.step = lambda *a, **k: None  # pyright: ignore[reportAttributeAccessIssue]
    for algorithm in both:
        algorithm.update(batch)
    for mine, theirs in zip(both[0].critic.parameters(), both[1].critic.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert any(
        not torch.equal(p, was) for p, was in zip(both[0].actor.parameters(), before, strict=True)
    )


class TwoSlopes(KnownHill):
    """Q₁ rises with the action, Q₂ falls twice as fast: the smaller one is Q₁ below 0 and Q₂
    above.
    """

    def forward(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return torch.stack([action[:, 0], -2 * action[:, 0]]) + 0 * self.nothing


def test_the_actor_climbs_the_smaller_critic_wherever_it_acts() -> None:
    """α is nothing: the loss is −min(a, −2a), and its gradient is that of the actions written out,
    of which some lie on each side.
    """
    algorithm = sac(critic=TwoSlopes(), updates_per_step=1, rows_per_update=32)
    algorithm.actor.log_temperature.requires_grad_(False).fill_(-60.0)
    batch = next(
        Episodes(
            Ten(8, terminates=False, action=ONE_NUMBER), algorithm, Stopwatch(), steps=11, seed=0
        )
    )
    twin = sac(critic=TwoSlopes())
    twin.actor.load_state_dict(algorithm.actor.state_dict())
    # the algorithm's first draw; the world shows 0 always
    noise = torch.randn((2, 32, 1), generator=seeded(2))[0]
    action = twin.actor(torch.zeros(32, dtype=torch.long), noise)[0][:, 0]
    assert bool((action > 0.1).any())
    assert bool((action < -0.1).any())
    loss = torch.where(action > 0, 2 * action, -action).mean()
    own = list(twin.actor.network.parameters())
    wanted = torch.autograd.grad(loss, own)
    seen: list[torch.Tensor] = []
    algorithm.actor_learner.optimizer.register_step_pre_hook(
        lambda *_: seen.extend(
            p.grad.clone() for p in algorithm.actor.network.parameters() if p.grad is not None
        )
    )
    figures = algorithm.update(batch)
    assert figures["policy_loss"] == pytest.approx(loss.item(), rel=1e-5)
    for mine, theirs in zip(seen, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_the_target_follows_at_its_rate() -> None:
    algorithm = sac(updates_per_step=1, target_rate=0.25)
    before = [p.clone() for p in algorithm.target_critic.network.parameters()]
    trained(algorithm, Ten(8, terminates=True, action=ONE_NUMBER), 1)
    now = zip(
        before,
        algorithm.target_critic.network.parameters(),
        algorithm.critic.parameters(),
        strict=True,
    )
    for was, is_, leader in now:
        torch.testing.assert_close(is_, 0.75 * was + 0.25 * leader)


@pytest.mark.parametrize("stop_after", [1, 4])
def test_an_update_broken_off_between_two_steps_continues_with_the_same_bits(
    stop_after: int, tmp_path: Path
) -> None:
    """All of it through a checkpoint on disk: actor, critics, targets, α, optimizers, memory,
    noise; then acting and a second batch.
    """
    straight, broken, resumed = (sac(seed=s, updates_per_step=4) for s in (0, 0, 7))
    episodes = Episodes(
        Ten(4, terminates=True, action=ONE_NUMBER), straight, Stopwatch(), steps=16, seed=0
    )
    batches = [next(episodes) for _ in range(3)]
    for algorithm in (straight, broken):
        algorithm.update(batches[0])
    figures = straight.update(batches[1])
    made = 0

    def between_steps() -> None:
        nonlocal made
        made += 1
        if made == stop_after:
            save_state(tmp_path / "state", broken.state_dict())
            raise Stop

    with pytest.raises(Stop):
        broken.update(batches[1], between_steps)
    resumed.load_state_dict(load_state(tmp_path / "state"))
    assert resumed.unfinished is not None
    assert resumed.update(resumed.unfinished) == figures
    assert resumed.unfinished is None
    obs = torch.arange(LENGTH)
    assert torch.equal(resumed.act(obs, seeded(5))[0], straight.act(obs, seeded(5))[0])
    assert resumed.update(batches[2]) == straight.update(batches[2])
    for name in ("actor", "critic"):
        pairs = zip(
            getattr(resumed, name).parameters(), getattr(straight, name).parameters(), strict=True
        )
        assert all(torch.equal(a, b) for a, b in pairs)


def test_micro_batches_never_change_the_numbers() -> None:
    whole, cut = (sac(updates_per_step=2, micro=m) for m in (None, 7))
    batch = next(
        Episodes(Ten(4, terminates=True, action=ONE_NUMBER), whole, Stopwatch(), steps=16, seed=0)
    )
    figures_close(cut.update(batch), whole.update(batch), 1e-4)
    for mine, theirs in zip(cut.actor.parameters(), whole.actor.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_until_learning_starts_actions_are_anywhere_between_the_bounds() -> None:
    """4,000 even numbers from −3 to 1: their mean is within 4.5 standard errors of −1, false alarm
    below 1 in 100,000.
    """
    algorithm = sac(action=Box(torch.tensor([-3.0]), torch.tensor([1.0])), learning_starts=1)
    action, logp = algorithm.act(torch.zeros(4000, dtype=torch.long), seeded(0))
    assert logp is None
    assert float(action.mean()) == pytest.approx(-1, abs=4.5 * 4 / math.sqrt(12 * 4000))
    assert float(action.std()) == pytest.approx(4 / math.sqrt(12), rel=0.05)


def test_actions_without_bounds_are_refused() -> None:
    with pytest.raises(UserError, match="finite bound"):
        sac(action=Choices((2,)))


def test_an_actor_that_begins_trained_acts_before_learning_starts() -> None:
    """Even draws over the box until then, unless there is an actor worth asking: then its own, of
    the same noise.
    """
    obs = torch.zeros(5, dtype=torch.long)
    untrained, trained_before = (
        sac(learning_starts=100),
        sac(learning_starts=100, begins_trained=True),
    )
    noise = torch.randn((5, 1), generator=seeded(9))
    with torch.no_grad():
        own = trained_before.actor(obs, noise)[0]
    assert torch.equal(trained_before.act(obs, seeded(9))[0], own)
    assert not torch.equal(untrained.act(obs, seeded(9))[0], own)
