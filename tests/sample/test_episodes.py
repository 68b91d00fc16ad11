"""What comes out of a world: rows that go on from batch to batch, ends, fresh beginnings, returns,
scaled rewards.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.control.actor_critic import ActorCritic, Encoder, moments_of
from fledge.sample.episodes import Episodes
from fledge.sample.reward_scale import RewardScale
from fledge.sample.whole_episodes import WholeEpisodes
from fledge.sample.workers import first_steps
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.make import make_world
from fledge.worlds.world import Box, Choices, Step


class Ladder:
    """Copy i climbs i + 2 rungs, one a step, paid the rung's number; the top ends it, or cuts it
    where `cut`.
    """

    name, restorable = "ladder", True
    observation, action = Choices((10,)), Choices((2,))

    def __init__(self, copies: int, cut: bool = False) -> None:
        self.copies, self.cut, self.height = copies, cut, torch.arange(copies) + 2
        self.rung = torch.zeros(copies, dtype=torch.long)

    def reset(self, seed: int) -> Tensor:
        self.rung = torch.zeros(self.copies, dtype=torch.long)
        return self.rung.clone()

    def step(self, action: Tensor) -> Step:
        fresh = self.rung == self.height
        self.rung = torch.where(fresh, 0, self.rung + 1)
        top, no = self.rung == self.height, torch.zeros(self.copies, dtype=torch.bool)
        return Step(
            self.rung.clone(), self.rung.float() * ~fresh, *((no, top) if self.cut else (top, no))
        )

    def state_dict(self) -> dict[str, Any]:
        return {"rung": self.rung}

    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        self.rung = state["rung"].clone()
        return self.rung.clone()

    def close(self) -> None:
        pass


class Coin:
    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        heads = torch.rand(len(obs), generator=generator) < 0.5
        return heads.long(), torch.full((len(obs),), 0.5).log()


@pytest.mark.parametrize("cut", [False, True])
def test_rows_go_on_where_they_stopped_and_ends_stand_where_they_were(cut: bool) -> None:
    """Copy 0 sees 0 1 2 | 0 1 2 | …, copy 1 0 1 2 3 | …: whatever the batches are, the rows put
    together say so.
    """
    sampler = Episodes(Ladder(2, cut), Coin(), Stopwatch(), steps=5, seed=0)
    first, second = next(sampler), next(sampler)
    for copy_, height in ((0, 2), (1, 3)):
        life = [t % (height + 1) for t in range(11)]
        assert first.obs[copy_].tolist() == life[:6]
        assert second.obs[copy_].tolist() == life[5:]
        steps = torch.cat([first.chosen[copy_], second.chosen[copy_]]).tolist()
        assert steps == [rung != height for rung in life[:10]]
        ends = torch.cat(
            [(b.truncated if cut else b.terminated)[copy_] for b in (first, second)]
        ).tolist()
        assert ends == [rung == height for rung in life[1:]]
        never = [(b.terminated if cut else b.truncated)[copy_] for b in (first, second)]
        assert not torch.cat(never).any()
        pay = torch.cat([first.reward[copy_], second.reward[copy_]]).tolist()
        assert pay == [float(rung) for rung in life[1:]]
    # ended within ten steps: copy 0 three episodes of 1 + 2, copy 1 two of 1 + 2 + 3
    assert sampler.figures["episode_return"] == (3 * 3 + 2 * 6) / 5
    assert sampler.figures["episode_length"] == (3 * 2 + 2 * 3) / 5
    assert (
        sampler.figures["world_steps"]
        == sampler.taken
        == int(first.chosen.sum() + second.chosen.sum())
    )


def test_a_sampler_that_was_saved_goes_on_with_the_same_rows() -> None:
    def made() -> Episodes:
        world = make_world("CartPole-v1", 3)
        policy = ActorCritic(
            world.observation,
            world.action,
            generator=torch.Generator().manual_seed(1),
            widths=(8,),
            normalise=True,
        )
        return Episodes(
            world,
            policy,
            Stopwatch(),
            steps=30,
            seed=4,
            scale=RewardScale(3, 0.9),
        )

    sampler = made()
    for _ in range(3):
        next(sampler)
    assert isinstance(sampler.actor, ActorCritic)
    state, weights = copy.deepcopy(sampler.state_dict()), copy.deepcopy(sampler.actor.state_dict())
    wanted = [next(sampler) for _ in range(2)]
    again = made()
    assert isinstance(again.actor, ActorCritic)
    again.actor.load_state_dict(weights)
    again.load_state_dict(state)
    for batch in wanted:
        batch_again = next(again)
        for name, value in batch.items():
            assert (value is None) == (getattr(batch_again, name) is None)
            assert value is None or torch.equal(value, getattr(batch_again, name)), name
    assert again.figures == sampler.figures


def test_whole_episodes_are_whole_and_wait_for_the_longest() -> None:
    sampler = WholeEpisodes(Ladder(3), Coin(), Stopwatch(), seed=0)
    rows = next(sampler)
    assert rows.chosen.sum(1).tolist() == [2, 3, 4]
    assert rows.chosen.shape[1] == 4
    assert rows.reward.sum(1).tolist() == [3, 6, 10]
    assert rows.terminated.nonzero().tolist() == [[0, 1], [1, 2], [2, 3]]
    assert sampler.figures["episode_return"] == 19 / 3


def test_an_episode_without_an_end_is_told() -> None:
    with pytest.raises(UserError, match="went on after 3 steps"):
        next(WholeEpisodes(Ladder(3), Coin(), Stopwatch(), seed=0, longest=3))


def test_scaled_rewards_are_divided_by_the_spread_of_the_discounted_returns() -> None:
    world, gamma = Ladder(2), 0.5
    plain = Episodes(Ladder(2), Coin(), Stopwatch(), steps=7, seed=0)
    scaled = Episodes(world, Coin(), Stopwatch(), steps=7, seed=0, scale=RewardScale(2, gamma))
    back, seen = [0.0, 0.0], []
    for _ in range(3):
        raw, scaled_rows = next(plain), next(scaled)
        for t in range(7):
            for i in range(2):
                back[i] = gamma * back[i] + float(raw.reward[i, t])
                if raw.chosen[i, t]:
                    seen.append(back[i])
                if raw.terminated[i, t]:
                    back[i] = 0.0
        spread = float(torch.tensor(seen, dtype=torch.float64).std(correction=0))
        torch.testing.assert_close(scaled_rows.reward, raw.reward / spread)
    assert scaled.figures["episode_return"] == plain.figures["episode_return"]  # the world's own


def test_running_statistics_are_those_of_everything_seen() -> None:
    low = torch.full((3,), -float("inf"))
    encoder = Encoder(Box(low, -low), normalise=True)
    parts = [
        torch.randn(n, 3, generator=torch.Generator().manual_seed(n)) * 3 + 5 for n in (4, 9, 1)
    ]
    for part in parts:
        encoder.observe(moments_of(part))
    every, n = torch.cat(parts), 15  # with the one that is taken to have come before
    mean = every.sum(0) / n
    torch.testing.assert_close(encoder.mean, mean)
    torch.testing.assert_close(encoder.variance, (every.square().sum(0) + 1) / n - mean.square())


def test_one_observation_has_a_spread() -> None:
    """Not the 1e-8 that would throw the next one to the edge."""
    low = torch.full((2,), -float("inf"))
    encoder = Encoder(Box(low, -low), normalise=True)
    encoder.observe(moments_of(torch.tensor([[0.3, 0.4]])))
    assert float(encoder(torch.tensor([[0.31, 0.39]])).abs().max()) < 1


@pytest.mark.parametrize("limit", [1, 29, 50, 61, 100])
def test_the_last_batch_ends_with_the_steps_that_were_asked_for(limit: int) -> None:
    """Whole batches, then one of what is left, up to twice as long; copies beyond the last step
    stay as if they had not been stepped.
    """
    world = make_world("CartPole-v1", 3)
    sampler = Episodes(world, Left(), Stopwatch(), steps=10, seed=0, limit=limit)
    batches = []
    while sampler.taken < limit:
        batches.append(next(sampler))
    assert sampler.taken == sum(int(rows.chosen.sum()) for rows in batches) == limit
    assert all(rows.chosen.shape[1] == 10 for rows in batches[:-1])
    last = batches[-1]
    assert int(last.chosen.sum()) < 60
    # an algorithm has as many rows as ever
    assert len(batches) == 1 or int(last.chosen.sum()) >= 30
    idle = ~last.chosen[:, -1]
    assert torch.equal(last.obs[idle, -1], last.obs[idle, -2]) or bool(
        (last.terminated[idle, -2]).any()
    )
    assert bool((last.reward[idle, -1] == 0).all())
    assert not bool((last.terminated | last.truncated)[idle, -1].any())


class Left:
    """Pushes left: the pole falls within some ten steps, and copies begin anew on the way."""

    def act(self, obs: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, None]:
        return torch.zeros(len(obs), dtype=torch.long), None


def test_the_first_steps_of_a_batch_are_those_of_all_copies_in_the_order_of_time() -> None:
    rows = next(Episodes(make_world("CartPole-v1", 3), Left(), Stopwatch(), steps=6, seed=0))
    cut = first_steps(rows, 7)
    assert cut.chosen.tolist() == [[True, True, True], [True, True, False], [True, True, False]]
    assert torch.equal(cut.obs[:, :3], rows.obs[:, :3])
    assert torch.equal(cut.obs[0, 3], rows.obs[0, 3])
    assert torch.equal(cut.obs[1:, 3], rows.obs[1:, 2])  # what their last step led to
    assert torch.equal(first_steps(rows, 100).action, rows.action)


@pytest.mark.parametrize("worth", [0.3, 1e-9, 1e6])
def test_rewards_whose_returns_never_differ_have_no_scale(worth: float) -> None:
    """γ = 0: every return is the reward itself. Spread and mean differ by rounding errors, and
    dividing by those made each reward ±10.
    """
    once = torch.zeros(1, 1)
    yes, no, scale = once == 0, once != 0, RewardScale(1, 0.0)
    rows = Trajectories(torch.zeros(1, 2), once, yes, once + worth, no, no)
    scaled = [scale(rows) for _ in range(30)]
    assert scaled[-1].reward.item() == pytest.approx(min(worth, 10.0), rel=1e-6)
