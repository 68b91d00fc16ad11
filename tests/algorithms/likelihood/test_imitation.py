"""Cloning and DAgger, learned and walked on a road with a ditch, cost what the theory says; who
acts, what is kept, and resuming.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fledge.algorithms.likelihood.imitation import CLONING, DAgger
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.models.control.actor_critic import ActorCritic
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.verify.compounding_error import cloning_cost, dagger_cost, growth
from fledge.worlds.world import Box
from tests.algorithms.counted_worlds import Road
from tests.subjects import learner, seeded


class Sober:
    """On the road action 0, in the ditch action 1."""

    def best(self, obs: Tensor) -> Tensor:
        return obs


class Steering:
    """Real numbers: half of what is observed, the other way."""

    def best(self, obs: Tensor) -> Tensor:
        return -0.5 * obs


def walker() -> ActorCritic:
    """A table that is wrong in 2999 of 3000 cases, both on the road and in the ditch: the worst
    that theory thinks of.
    """
    both = ActorCritic(
        Road(1, 1).observation,
        Road(1, 1).action,
        generator=seeded(0),
        actor=nn.Linear(2, 2, bias=False),
    )
    table = both.actor.weight
    assert isinstance(table, Tensor)
    with torch.no_grad():
        table.copy_(torch.tensor([[0.0, 8.0], [8.0, 0.0]]))  # [A, S]
    return both


DAGGER = DAgger.Settings()


def imitator(usual: DAgger.Settings = DAGGER, **settings: Any) -> DAgger:
    policy, given = walker(), usual.replace(**settings)
    fit = learner(policy, rate=0.1)
    return DAgger(policy, Sober(), fit, Stopwatch(), given, generator=seeded(1))


def errors(policy: ActorCritic) -> tuple[float, float]:
    """How likely the policy errs on the road and in the ditch."""
    table = policy.actor.weight
    assert isinstance(table, Tensor)
    p = table.detach().double().softmax(0)
    return float(p[1, 0]), float(p[0, 1])


def walked(policy: ActorCritic, copies: int, steps: int) -> Tensor:
    """Steps in the ditch of as many walks.  [copies]"""
    return -next(
        Episodes(Road(copies, steps), policy, Stopwatch(), steps=steps, seed=7)
    ).reward.sum(1)


def expected(on_road: float, in_ditch: float, steps: int) -> np.ndarray:
    """Of walks of 1…T steps, by the powers of the walk's matrix.  [T]"""
    matrix = np.array([[1 - on_road, on_road], [1 - in_ditch, in_ditch]])
    return np.cumsum([np.linalg.matrix_power(matrix, t)[0, 1] for t in range(1, steps + 1)])


@pytest.mark.parametrize("usual", [CLONING, DAGGER])
def test_on_the_road_cloning_pays_for_every_error_until_the_end_and_dagger_once(
    usual: DAgger.Settings,
) -> None:
    """4000 walks of 40 steps with the learned table: their mean within 4 standard errors (false
    alarm 6e-5) of the exact cost.
    """
    made = imitator(usual, updates_per_step=4)
    episodes = Episodes(Road(32, 40), made, Stopwatch(), steps=82, seed=3)
    on_road, in_ditch, figures = 1.0, 1.0, {}
    while on_road > 0.005 or (usual is DAGGER and in_ditch > 0.005):
        figures = made.update(next(episodes))
        on_road, in_ditch = errors(made.policy)
        assert made.batches < 60
    assert on_road > 1e-4
    walks = walked(made.policy, 4000, 40)
    exact = expected(on_road, in_ditch, 40)
    assert abs(float(walks.mean()) - exact[-1]) < 4 * float(walks.std()) / 4000**0.5
    if usual is DAGGER:
        assert in_ditch < 0.005
        assert bool((torch.from_numpy(exact) <= dagger_cost(max(on_road, in_ditch), 40)).all())
        assert growth(torch.from_numpy(exact), 10) == pytest.approx(1, abs=0.02)
        assert figures["labelled"] == 32 * 80 * made.batches
    else:
        assert in_ditch > 0.999  # nobody was ever there
        np.testing.assert_allclose(exact, cloning_cost(on_road, 40), rtol=0.02)
        assert growth(torch.from_numpy(exact), 10) > 1.9
        assert exact[-1] > 10 * on_road * 40


def test_the_expert_takes_its_share_of_the_steps() -> None:
    """A policy that does the opposite everywhere tells the two apart. 20,000 lots: within 4
    standard errors, false alarm 6e-5.
    """
    made = imitator(decay=0.5)
    with torch.no_grad():
        certain = torch.tensor([[-50.0, 50.0], [50.0, -50.0]])
        made.policy.actor.weight.copy_(certain)  # pyright: ignore[reportCallIssue]
    place = torch.arange(20_000) % 2
    for batches, share in enumerate((1.0, 0.5, 0.25)):
        made.batches = batches
        assert made.expert_share == share
        action, logp = made.act(place, seeded(batches))
        assert logp is None
        frequency = (action == place).double().mean().item()
        assert abs(frequency - share) <= 4 * (share * (1 - share) / 20_000) ** 0.5
    for decay, later in ((0.0, 0.0), (1.0, 1.0)):
        made = imitator(decay=decay)
        assert made.expert_share == 1
        made.batches = 9
        assert made.expert_share == later
    assert torch.equal(made.best(place), made.policy.best(place))


def test_what_was_chosen_is_labelled_and_kept_and_nothing_else() -> None:
    made = imitator()
    episodes = Episodes(Road(4, 5), made, Stopwatch(), steps=14, seed=3)
    first, second = next(episodes), next(episodes)
    assert not first.chosen.all()
    made.update(first)
    figures = made.update(
        second.replace(action=torch.full_like(second.action, 9), reward=second.reward + torch.nan)
    )
    seen = torch.cat([batch.obs[:, :-1][batch.chosen] for batch in (first, second)])
    assert made.labelled.obs is not None
    assert made.labelled.action is not None
    assert torch.equal(made.labelled.obs, seen)
    assert torch.equal(made.labelled.action, seen)
    assert figures["labelled"] == len(seen)
    assert figures["expert_share"] == 0


def test_disagreement_is_a_share_of_steps_or_a_distance() -> None:
    made = imitator()
    with torch.no_grad():
        likely = torch.tensor([[8.0, 8.0], [0.0, 0.0]])
        made.policy.actor.weight.copy_(likely)  # pyright: ignore[reportCallIssue]
    obs = torch.tensor([[0, 1, 1, 0, 1]])
    no = torch.zeros(1, 4, dtype=torch.bool)
    batch = Trajectories(
        obs, obs[:, :-1], torch.tensor([[True, True, False, True]]), torch.zeros(1, 4), no, no
    )
    # Action 0 everywhere is wrong in the ditch alone, where one of the three chosen steps was.
    assert made.label(batch)["disagreement"] == pytest.approx(1 / 3)
    box = Box(torch.full((1,), -9.0), torch.full((1,), 9.0))
    policy = ActorCritic(box, box, generator=seeded(0), actor=nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        policy.actor.weight.fill_(0.5)  # pyright: ignore[reportCallIssue]
    steering = DAgger(policy, Steering(), learner(policy), Stopwatch(), generator=seeded(0))
    seen = torch.tensor([[[3.0], [4.0], [9.0]]])
    real = Trajectories(seen, seen[:, :-1], ~no[:, :2], torch.zeros(1, 2), no[:, :2], no[:, :2])
    assert steering.label(real)["disagreement"] == pytest.approx(12.5**0.5)  # 3 and 4 away


def test_real_numbers_are_imitated_too() -> None:
    box = Box(torch.full((2,), -9.0), torch.full((2,), 9.0))
    policy = ActorCritic(box, box, generator=seeded(0), widths=(32,))
    fit = learner(policy, rate=1e-2)
    made = DAgger(
        policy,
        Steering(),
        fit,
        Stopwatch(),
        settings=DAgger.Settings(updates_per_step=100),
        generator=seeded(0),
    )
    obs = torch.randn(16, 21, 2, generator=seeded(5))
    no = torch.zeros(16, 20, dtype=torch.bool)
    batch = Trajectories(obs, obs[:, :-1], ~no, torch.zeros(16, 20), no, no)
    first = made.update(batch)["disagreement"]
    made.update(batch)
    assert made.update(batch)["disagreement"] < 0.15 * first


def test_on_recorded_trajectories_cloning_is_supervised_learning() -> None:
    """The mean of −log π over what was chosen, by hand from the table."""
    policy, place = walker(), torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]])
    chosen = torch.tensor([[True, True, False], [True, True, True]])
    no = torch.zeros(2, 3, dtype=torch.bool)
    batch = Trajectories(place, place[:, 1:], chosen, torch.zeros(2, 3), no, no)
    cloning = Supervised(
        policy,  # pyright: ignore[reportArgumentType]
        learner(policy),
        Stopwatch(),
    )
    loss = cloning.update(batch)["loss"]
    # action 1 on the road and 0 in the ditch; the others
    likely, unlikely = (
        np.log(1 + np.exp(-8)),
        np.log(1 + np.exp(8)),
    )
    assert loss == pytest.approx((3 * likely + 2 * unlikely) / 5, rel=1e-6)


class Stop(Exception):
    """The process ends here."""


@pytest.mark.parametrize("stop_after", [1, 4])
def test_an_update_broken_off_between_two_steps_continues_with_the_same_bits(
    stop_after: int, tmp_path: Path
) -> None:
    """Through a checkpoint on disk; then further batches, acted out by either."""

    def begun() -> tuple[DAgger, Episodes]:
        made = imitator(decay=0.5, updates_per_step=4)
        return made, Episodes(Road(4, 5), made, Stopwatch(), steps=7, seed=3)

    (straight, acted), (broken, other), (resumed, again) = begun(), begun(), begun()
    straight.update(next(acted))
    broken.update(next(other))
    first = straight.update(next(acted))
    made = 0

    def between_steps() -> None:
        nonlocal made
        made += 1
        if made == stop_after:
            save_state(
                tmp_path / "state",
                {"algorithm": broken.state_dict(), "episodes": other.state_dict()},
            )
            raise Stop

    with pytest.raises(Stop):
        broken.update(next(other), between_steps)
    state = load_state(tmp_path / "state")
    resumed.load_state_dict(state["algorithm"])
    again.load_state_dict(state["episodes"])
    assert resumed.unfinished is not None
    assert resumed.update(resumed.unfinished) == first
    for _ in range(2):
        assert resumed.update(next(again)) == straight.update(next(acted))
    assert errors(resumed.policy) == errors(straight.policy)
    assert resumed.expert_share == 0.5**4


def test_cloning_leaves_every_step_to_the_expert_and_no_more() -> None:
    made = imitator(CLONING, updates_per_step=1)
    episodes = Episodes(Road(4, 5), made, Stopwatch(), steps=7, seed=3)
    assert [made.update(next(episodes))["expert_share"] for _ in range(3)] == [1, 1, 1]
