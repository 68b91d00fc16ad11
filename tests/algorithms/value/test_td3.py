"""TD3's targets by hand, what truncation and termination are worth, the delayed actor, and exact
resumption.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.algorithms.value.td3 import TD3, Smoothed
from fledge.learner import Learner, Schedule
from fledge.models.control.squashed_actor import DeterministicActor
from fledge.models.control.twin_critic import TwinCritic
from fledge.optimizers import adamw
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.sample.replay import Replay
from fledge.stopwatch import Stopwatch
from fledge.worlds.world import Choices
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


def td3(
    *, seed: int = 0, micro: int | None = None, critic: TwinCritic | None = None, **settings: Any
) -> TD3:
    random = seeded(seed)
    actor = DeterministicActor(STEPS, ONE_NUMBER, generator=random, widths=(16,))
    critic = critic or TwinCritic(STEPS, ONE_NUMBER, generator=random, widths=(32,))
    schedule = Schedule(0.01, 1000, shape="linear", final=0.0)
    actor_learner, critic_learner = (
        Learner(
            module,
            schedule,
            optimizer=adamw(betas=(0.9, 0.999), weight_decay=0.0),
            clip=0.0,
            rows_per_micro_batch=micro,
        )
        for module in (actor, critic)
    )
    return TD3(
        actor,
        critic,
        actor_learner,
        critic_learner,
        Stopwatch(),
        settings=TD3.Settings(**SETTINGS | settings),
        replay=Replay(4000, generator=seeded(seed + 1)),
        generator=seeded(seed + 2),
    )


def trained(algorithm: TD3, world: Ten, updates: int) -> TD3:
    episodes = Episodes(world, algorithm, Stopwatch(), steps=11, seed=0)
    for _ in range(updates):
        algorithm.update(next(episodes))
    return algorithm


def one_batch(algorithm: TD3, steps: int = 16) -> Any:
    return next(
        Episodes(
            Ten(4, terminates=True, action=ONE_NUMBER), algorithm, Stopwatch(), steps=steps, seed=0
        )
    )


def test_the_target_is_the_smaller_critic_at_the_smoothed_action_and_only_termination_ends_it() -> (
    None
):
    algorithm = td3()
    with torch.no_grad():
        for p in algorithm.target_critic.network.parameters():
            p.add_(torch.randn(p.shape, generator=seeded(1)))
        *_, bias = algorithm.target_actor.network.parameters()
        bias.fill_(0.8)  # tanh is 0.66, of which 0.5 more would be out of bounds
    noise = torch.tensor([[0.5], [0.1], [-0.2], [0.0]])
    rows = Smoothed(
        obs=torch.tensor([0, 1, 2, 3]),
        action=torch.zeros(4, 1),
        reward=torch.tensor([1.0, 2.0, 3.0, 4.0]),
        next_obs=torch.tensor([1, 2, 3, 4]),
        discount=torch.full((4,), 0.9),
        terminated=torch.tensor([False, True, False, True]),
        weight=torch.ones(4),
        index=torch.arange(4),
        next_noise=noise,
    )
    with torch.no_grad():
        plain = algorithm.target_actor.network(rows.next_obs)
        action = torch.minimum(plain + noise, torch.ones(4, 1))
        assert float(action[0]) == 1
        first, second = algorithm.target_critic.network(rows.next_obs, action)
    worth = torch.where(first < second, first, second)
    expected = torch.stack(
        [1 + 0.9 * worth[0], torch.tensor(2.0), 3 + 0.9 * worth[2], torch.tensor(4.0)]
    )
    torch.testing.assert_close(algorithm.target(rows), expected)


@pytest.mark.parametrize("terminates", [True, False], ids=["terminated", "truncated"])
def test_what_is_cut_off_counts_and_what_has_ended_does_not(terminates: bool) -> None:
    """2 everywhere where time is up after ten steps, the finite sum where the world ends: there
    nothing is left to learn.
    """
    before, after, figures = step_from_known_values(td3, terminates, off=0.0)
    assert figures["value_loss"] == 0
    assert torch.equal(after, before)
    assert (figures["steps_skipped"], figures["updates"]) == (1, 0)
    before, after, figures = step_from_known_values(td3, terminates, off=1.0)
    assert figures["value_loss"] == 1  # ½ of both critics
    assert figures["updates"] == 1
    seen = slice(LENGTH if terminates else 1)
    assert bool((after[:, seen] < before[:, seen]).all())


def test_it_climbs_a_known_hill_to_the_top_and_finds_one_that_it_does_not_know() -> None:
    """Q = −(a − 0.3)²: 0.3 to 0.001. Where r is that, and nothing else counts: within 0.15, where
    rectified critics are nearly flat.
    """
    anywhere = torch.zeros(1, dtype=torch.long)
    knows = trained(td3(critic=KnownHill()), Ten(8, terminates=False, action=ONE_NUMBER), 12)
    assert float(knows.best(anywhere)) == pytest.approx(0.3, abs=0.001)
    finds = trained(td3(gamma=0.0, learning_starts=400), Hill(8), 16)
    assert float(finds.best(anywhere)) == pytest.approx(0.3, abs=0.15)


def test_actor_and_targets_move_at_every_third_step_and_the_critics_at_each() -> None:
    algorithm = td3(updates_per_step=8, policy_every=3, target_rate=0.25)
    moved: list[tuple[bool, ...]] = []
    parts = (
        algorithm.actor,
        algorithm.target_actor.network,
        algorithm.target_critic.network,
        algorithm.critic,
    )
    before = [[p.clone() for p in part.parameters()] for part in parts]

    def look() -> None:
        now = [[p.clone() for p in part.parameters()] for part in parts]
        moved.append(
            tuple(
                any(not torch.equal(a, b) for a, b in zip(*x, strict=True))
                for x in zip(now, before, strict=True)
            )
        )
        before[:] = now

    figures = algorithm.update(one_batch(algorithm), look)
    assert moved == [(step % 3 == 0,) * 3 + (True,) for step in range(1, 9)]
    assert algorithm.actor_learner.steps == 2
    assert figures["updates"] == 8
    assert "policy_loss" in figures


def test_the_targets_noise_is_cut_and_the_actors_stays_within_the_bounds() -> None:
    algorithm = td3(target_noise=10.0, most_target_noise=0.5, acting_noise=10.0, updates_per_step=1)
    seen: list[torch.Tensor] = []
    target = algorithm.target
    algorithm.target = lambda rows: (seen.append(rows.next_noise), target(rows))[1]
    algorithm.update(one_batch(algorithm))
    assert float(seen[0].max()) == 0.5 == -float(seen[0].min())
    action, logp = algorithm.act(torch.zeros(400, dtype=torch.long), seeded(0))
    assert logp is None
    assert float(action.abs().max()) == 1
    assert float(action.std()) > 0.5


@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_an_update_broken_off_between_two_steps_continues_with_the_same_bits(
    stop_after: int, tmp_path: Path
) -> None:
    """All of it through a checkpoint on disk: actor, critics, both targets, optimizers, memory,
    noise; then acting and a second batch.
    """
    straight, broken, resumed = (td3(seed=s, updates_per_step=5) for s in (0, 0, 7))
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
    whole, cut = (td3(updates_per_step=2, micro=m) for m in (None, 7))
    batch = one_batch(whole)
    figures_close(cut.update(batch), whole.update(batch), 1e-4)
    for mine, theirs in zip(cut.actor.parameters(), whole.actor.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_an_actor_that_never_learns_is_refused() -> None:
    with pytest.raises(ValueError, match="policy_every"):
        td3(policy_every=0)
