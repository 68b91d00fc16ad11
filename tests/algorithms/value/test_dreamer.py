"""Dreamer: its returns as sums, the same numbers in pieces and after a stop, and an actor that
learns from what is imagined alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.algorithms.value.dreamer import Dreamer, lambda_returns
from fledge.evaluate.judged_episodes import play_episodes
from fledge.learner import Learner, Schedule
from fledge.models.control.actor_critic import ActorCritic
from fledge.models.control.recurrent_world import RecurrentWorld
from fledge.optimizers import adamw
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.sample.replay import Replay
from fledge.sample.windows import draw_stretches
from fledge.stopwatch import Stopwatch
from fledge.worlds.make import make_world
from fledge.worlds.world import Box, Choices, Space, Step
from tests.subjects import figures_close, seeded


class Stop(Exception):
    """The process ends here."""


def dreamer(
    world: Any, *, seed: int = 0, micro: int | None = None, rate: float = 3e-3, **settings: Any
) -> Dreamer:
    kind: dict[str, Any] = {
        "learning_starts": 20, "updates_per_step": 3, "rows_per_update": 6, "window_steps": 5,
        "imagined_steps": 4,
    }  # fmt: skip
    random = seeded(seed)
    imagined = RecurrentWorld(
        world.observation, world.action, generator=random, deterministic=12, stochastic=3, width=12
    )
    far = torch.full((imagined.width,), torch.inf)
    policy = ActorCritic(Box(-far, far), world.action, generator=random, widths=(8,))
    learners = [
        Learner(
            part, Schedule(rate, 1000), optimizer=adamw(weight_decay=0.0), clip=0.0,
            rows_per_micro_batch=micro,
        )
        for part in (imagined, policy)
    ]  # fmt: skip
    return Dreamer(
        imagined, policy, learners[0], learners[1], Stopwatch(),
        Dreamer.Settings(**kind | settings), action=world.action,
        replay=Replay(2000, generator=seeded(seed + 1)), generator=seeded(seed + 2),
    )  # fmt: skip


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_returns_are_mixtures_of_those_of_every_length(lambda_: float) -> None:
    """(1 − λ) Σ_n λ^{n−1} G^{(n)}, the last with all that is left (Hafner et al. 2020, eqs. 5, 6);
    no returns go past an end.
    """
    random, gamma, H = seeded(0), 0.9, 4
    reward, value = torch.randn(2, H, generator=random), torch.randn(2, H + 1, generator=random)
    going = torch.rand(2, H, generator=random)
    going[1, 2] = 0.0
    said = lambda_returns(reward, going, value, gamma, lambda_)
    for n in range(2):
        for t in range(H):
            mixed = 0.0
            for k in range(1, H - t + 1):
                worth, alive = 0.0, 1.0
                for i in range(k):
                    worth += alive * float(reward[n, t + i])
                    alive *= gamma * float(going[n, t + i])
                worth += alive * float(value[n, t + k])
                share = lambda_ ** (k - 1) * (1.0 if k == H - t else 1 - lambda_)
                mixed += share * worth
            assert float(said[n, t]) == pytest.approx(mixed, rel=1e-5, abs=1e-6)


def test_stretches_are_what_happened_in_one_copy() -> None:
    """900 draws of 60 beginnings: every one comes, but with a chance of 2e-5."""
    world = make_world("CartPole-v1", 3)
    algorithm = dreamer(world)
    episodes = Episodes(world, algorithm, Stopwatch(), steps=20, seed=0)
    replay, batches = Replay(75, generator=seeded(0)), [next(episodes) for _ in range(3)]
    for batch in batches:
        replay.push(batch)
    obs = torch.cat([batches[0].obs[:, :1], *(b.obs[:, 1:] for b in batches)], 1)  # [3, 61, 4]
    chosen = torch.cat([b.chosen for b in batches], 1)
    action = torch.cat([b.action for b in batches], 1)
    drawn, begun = draw_stretches(replay, 900, 6), set()
    for n in range(900):
        same = (obs == drawn.obs[n, 0]).all(-1).nonzero()
        copy, begin = same[0].tolist()
        begun.add((copy, begin))
        assert torch.equal(obs[copy, begin : begin + 7], drawn.obs[n])
        assert torch.equal(chosen[copy, begin : begin + 6], drawn.chosen[n])
        assert torch.equal(action[copy, begin : begin + 6], drawn.action[n])
    first = min(begin for _, begin in begun)
    assert first >= 60 - 25  # no more than the memory holds
    assert len(begun) == 3 * (60 - 6 - first + 1)


def test_micro_batches_never_change_the_numbers() -> None:
    world = make_world("CartPole-v1", 2)
    whole, cut = (dreamer(world, micro=m) for m in (None, 4))
    batches = Episodes(world, whole, Stopwatch(), steps=16, seed=0)
    for _ in range(2):
        batch = next(batches)
        figures_close(cut.update(batch), whole.update(batch), 2e-3)
    for one, other in ((cut.world, whole.world), (cut.policy, whole.policy)):
        for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=5e-3, atol=5e-4)


@pytest.mark.parametrize("world_name", ["drawn:gridworld", "Pendulum-v1"])
def test_a_stopped_run_goes_on_with_the_same_bits(world_name: str, tmp_path: Path) -> None:
    world = make_world(world_name, 2)
    straight, broken, other = (dreamer(world, seed=s) for s in (0, 0, 7))
    episodes = Episodes(world, straight, Stopwatch(), steps=14, seed=0)
    batches = [next(episodes)]
    straight.update(batches[0])
    broken.update(batches[0])
    batches.append(next(episodes))
    broken.carried = straight.carried
    figures, made = straight.update(batches[1]), 0

    def between_steps() -> None:
        nonlocal made
        made += 1
        if made == 2:
            save_state(tmp_path / "state", broken.state_dict())
            raise Stop

    with pytest.raises(Stop):
        broken.update(batches[1], between_steps)
    other.load_state_dict(load_state(tmp_path / "state"))
    assert other.unfinished is not None
    assert other.update(other.unfinished) == figures
    for algorithm in (straight, other):
        algorithm.begin_anew(torch.tensor([False, True]))
    obs = batches[1].obs[:, -1]
    for _ in range(2):
        assert torch.equal(other.act(obs, seeded(5))[0], straight.act(obs, seeded(5))[0])
    batch = next(episodes)
    assert other.update(batch) == straight.update(batch)
    assert torch.equal(other.best(obs), straight.best(obs))


def test_a_copy_that_begins_anew_forgets_and_the_others_do_not() -> None:
    world = make_world("CartPole-v1", 2)
    algorithm, fresh = dreamer(world), dreamer(world)
    obs = world.reset(0)
    for _ in range(3):
        algorithm.act(obs, seeded(1))
    algorithm.begin_anew(torch.tensor([True, False]))
    algorithm.act(obs, seeded(2))
    fresh.act(obs, seeded(2))
    assert algorithm.carried is not None
    assert fresh.carried is not None
    torch.testing.assert_close(algorithm.carried[0][0], fresh.carried[0][0])
    assert not torch.allclose(algorithm.carried[0][1], fresh.carried[0][1])


class Mirror:
    """A number, 1 or −1 by lot at every step; action 1 pays where it is 1, action 0 where it is
    not. Cut after ten steps.
    """

    name, restorable = "mirror", True
    observation: Space = Box(-torch.ones(1), torch.ones(1))
    action: Space = Choices((2,))

    def __init__(self, copies: int) -> None:
        self.copies, self.random = copies, seeded(0)
        self.reset(0)

    def _draw(self) -> torch.Tensor:
        self.seen = 2.0 * torch.randint(2, (self.copies, 1), generator=self.random) - 1
        return self.seen

    def reset(self, seed: int) -> torch.Tensor:
        self.random, self.clock = seeded(seed % 2**31), 0
        return self._draw()

    def step(self, action: torch.Tensor) -> Step:
        over, no = self.clock == 10, torch.zeros(self.copies, dtype=torch.bool)
        self.clock = 0 if over else self.clock + 1
        right = (action == (self.seen[:, 0] > 0).long()).float()
        return Step(self._draw(), right * (not over), no, no | (self.clock == 10))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> torch.Tensor:
        return self.seen

    def close(self) -> None: ...


def test_the_actor_learns_from_what_is_imagined() -> None:
    """Right in 9 of 10 steps after 230 updates, where chance is right in 5 (after 110 it was in all
    of them); the actor has never been trained on a step that was made.
    """
    world = Mirror(8)
    algorithm = dreamer(
        world, rate=1e-2, updates_per_step=10, rows_per_update=16, window_steps=5,
        imagined_steps=2, gamma=0.5, learning_starts=160,
    )  # fmt: skip
    episodes = Episodes(world, algorithm, Stopwatch(), steps=11, seed=0)
    algorithm.update(batch := next(episodes))
    for _ in range(24):
        algorithm.update(batch := next(episodes))
    assert float(batch.reward[batch.chosen].mean()) > 0.85
    played = play_episodes(Mirror(40), algorithm.best, 5)
    assert played.mean > 9
