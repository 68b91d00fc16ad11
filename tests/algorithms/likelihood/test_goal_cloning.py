"""Where a step led, by a double loop; what is learned is the posterior of the action given the
place reached; and goals are reached.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fledge.algorithms.likelihood.goal_cloning import (
    Aimed,
    GoalCloning,
    add_goal,
    join_goal,
    pick_reached,
)
from fledge.errors import UserError
from fledge.learner import Learner, Schedule
from fledge.models.control.actor_critic import ActorCritic
from fledge.optimizers import adamw
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.world import Box, Choices
from tests.algorithms.counted_worlds import Line
from tests.subjects import come_as_often_as, seeded


class PairTable(nn.Module):
    """Logits for every place and goal: of two one-hot rows side by side, the row of the pair."""

    def __init__(self, places: int, actions: int) -> None:
        super().__init__()
        self.places, self.table = places, nn.Parameter(torch.zeros(places * places, actions))

    def forward(self, encoded: Tensor) -> Tensor:
        place, goal = encoded.view(-1, 2, self.places).argmax(-1).unbind(1)
        return self.table[place * self.places + goal]


def cloning(rate: float = 0.05, steps: int = 1, **kwargs: Any) -> GoalCloning:
    world = Line(1)
    policy = ActorCritic(
        add_goal(world.observation, world.observation),
        world.action,
        generator=seeded(0),
        actor=PairTable(7, 3),
    )
    fit = Learner(
        policy,
        Schedule(rate, steps, shape="linear", final=0.01),
        optimizer=adamw(weight_decay=0.0),
        clip=0.0,
    )
    anywhere = lambda n, generator: torch.randint(7, (n,), generator=generator)  # noqa: E731
    return GoalCloning(
        policy,
        fit,
        Stopwatch(),
        settings=GoalCloning.Settings(**kwargs),
        goals=anywhere,
        generator=seeded(1),
    )


def rows(seed: int, size: int = 6, steps: int = 9) -> Trajectories:
    """Ends of both kinds, and after each the step that only begins anew; garbage in the flags of
    what is not chosen.
    """
    random = seeded(seed)
    terminated, truncated = torch.rand(2, size, steps, generator=random) < 0.2
    chosen = torch.ones(size, steps, dtype=torch.bool)
    for b, t in product(range(size), range(1, steps)):
        if chosen[b, t - 1] and (terminated | truncated)[b, t - 1]:
            chosen[b, t] = False
    obs = torch.arange(size * (steps + 1)).view(size, steps + 1)
    return Trajectories(
        obs,
        torch.zeros(size, steps, dtype=torch.long),
        chosen,
        torch.zeros(size, steps),
        terminated,
        truncated,
    )


def end_of(batch: Trajectories, b: int, t: int) -> int:
    """The place in `obs` of the last observation of the step's episode, one step after another."""
    while t < batch.chosen.shape[1] - 1 and not (batch.terminated | batch.truncated)[b, t]:
        t += 1
    return t + 1


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_step_was_headed_for_the_end_of_its_episode_or_any_place_before(seed: int) -> None:
    batch = rows(seed)
    final, future = (
        pick_reached(batch, "final", seeded(seed)),
        pick_reached(batch, "future", seeded(seed)),
    )
    for b, t in batch.chosen.nonzero().tolist():
        end = end_of(batch, b, t)
        assert final[b, t] == end
        assert t < future[b, t] <= end


def test_of_the_places_later_on_each_is_as_likely_as_the_others() -> None:
    """20,000 steps at the beginning of five; χ² with a false alarm of 1 in 10,000."""
    no = torch.zeros(20_000, 5, dtype=torch.bool)
    batch = Trajectories(torch.zeros(20_000, 6), no.long(), ~no, no.float(), no, no)
    counts = Counter(pick_reached(batch, "future", seeded(0))[:, 0].tolist())
    come_as_often_as(dict.fromkeys(range(1, 6), 0.2), counts)


def every_walk() -> Trajectories:
    """All 27 of three steps from the middle of the line."""
    action = torch.tensor(list(product(range(3), repeat=3)))
    place = torch.full((27, 4), 3)
    for t in range(3):
        place[:, t + 1] = (place[:, t] + action[:, t] - 1).clamp(0, 6)
    no = torch.zeros(27, 3, dtype=torch.bool)
    last = torch.arange(3).expand(27, 3) == 2
    return Trajectories(place, action, ~no, torch.zeros(27, 3), no, last)


@pytest.mark.parametrize("relabel", ["final", "future"])
def test_what_is_learned_is_the_posterior_of_the_action_given_the_place_reached(
    relabel: Any,
) -> None:
    """p(a|s, g) counted over every walk and, for `future`, every later place: to 0.03 wherever
    three walks or more went.
    """
    batch = every_walk()
    counts: Counter[tuple[int, int, int]] = Counter()
    for b, t in product(range(27), range(3)):
        later = [3] if relabel == "final" else list(range(t + 1, 4))
        for place in later:
            share = 6 // len(later)
            counts[int(batch.obs[b, t]), int(batch.obs[b, place]), int(batch.action[b, t])] += share
    made = cloning(steps=400, relabel=relabel, updates_per_step=400, rows_per_update=512)
    repeats = 1 if relabel == "final" else 300  # the later place is drawn at random
    made.update(batch[torch.arange(27).repeat(repeats)])
    table = made.policy.actor.table
    assert isinstance(table, Tensor)
    learned = table.detach().softmax(-1).view(7, 7, 3)
    seen = {(s, g) for s, g, _ in counts}
    assert len(seen) > 15
    for s, g in seen:
        whole = sum(counts[s, g, a] for a in range(3))
        if whole >= 18:
            for a in range(3):
                assert learned[s, g, a].item() == pytest.approx(
                    counts[s, g, a] / whole, abs=0.03
                ), (s, g, a)
    never = [(s, g) for s, g in product(range(7), repeat=2) if (s, g) not in seen]
    for s, g in never:
        assert not table[s * 7 + g].any()


def test_every_goal_is_reached() -> None:
    """From the middle in three steps; the two ends want three right steps, of which chance finds 1
    in 27.
    """
    made = cloning(rate=0.1, steps=400, updates_per_step=40)
    episodes = Episodes(Line(32), made, Stopwatch(), steps=8, seed=0)
    for _ in range(10):
        made.update(next(episodes))
    for goal in range(7):
        world = Line(1)
        place, seeker = world.reset(0), made.seek(torch.tensor(goal))
        for _ in range(3):
            place = world.step(seeker.best(place)).obs
        assert place.item() == goal
        actions, logp = seeker.act(torch.full((500,), 3), seeded(goal))
        assert logp.shape == (500,)
        if goal in (0, 6):
            assert (actions == (0 if goal == 0 else 2)).double().mean() > 0.8


def test_goals_are_told_for_a_batch_and_then_others() -> None:
    made = cloning()
    episodes = Episodes(Line(64), made, Stopwatch(), steps=4, seed=0)
    batch = next(episodes)
    first = made.told
    assert first is not None
    made.act(batch.obs[:, -1], seeded(5))
    assert made.told is first
    made.update(batch)
    next(episodes)
    assert made.told is not None
    assert not torch.equal(made.told, first)


def test_a_part_of_what_is_observed_may_be_the_goal() -> None:
    """Position and speed are observed, the position is the goal."""
    space, part = Box(-torch.ones(2), torch.ones(2)), Box(-2 * torch.ones(1), 2 * torch.ones(1))
    both = add_goal(space, part)
    assert isinstance(both, Box)
    assert both.low.tolist() == [-1, -1, -2]
    policy = ActorCritic(both, Choices((2,)), generator=seeded(0))
    fit = Learner(policy, Schedule(1e-2, 10))
    made = GoalCloning(
        policy,
        fit,
        Stopwatch(),
        goals=lambda n, g: torch.zeros(n, 1),
        generator=seeded(1),
        goal_of=lambda obs: obs[:, :1],
    )
    obs = torch.arange(8.0).view(1, 4, 2)
    no = torch.zeros(1, 3, dtype=torch.bool)
    made.update(Trajectories(obs, no.long(), ~no, no.float(), no, no))
    assert made.labelled.obs is not None
    assert made.labelled.obs.tolist() == [[0, 1, 6], [2, 3, 6], [4, 5, 6]]
    assert add_goal(Choices((3,)), Choices((4, 5))) == Choices((3, 4, 5))
    assert join_goal(torch.tensor([1, 2]), torch.tensor([[3, 4], [5, 6]])).tolist() == [
        [1, 3, 4],
        [2, 5, 6],
    ]
    with pytest.raises(UserError, match="observations are Box and goals Choices"):
        add_goal(space, Choices((2,)))


def test_a_run_that_was_saved_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """In the middle of an update, through a checkpoint on disk; then further batches."""

    def begun() -> tuple[GoalCloning, Episodes]:
        made = cloning(relabel="future", steps=100, updates_per_step=3)
        return made, Episodes(Line(8), made, Stopwatch(), steps=7, seed=0)

    (straight, acted), (broken, other), (resumed, again) = begun(), begun(), begun()
    first = straight.update(next(acted))

    class Stop(Exception):
        """The process ends here."""

    def between_steps() -> None:
        save_state(
            tmp_path / "state", {"algorithm": broken.state_dict(), "episodes": other.state_dict()}
        )
        raise Stop

    with pytest.raises(Stop):
        broken.update(next(other), between_steps)
    state = load_state(tmp_path / "state")
    resumed.load_state_dict(state["algorithm"])
    again.load_state_dict(state["episodes"])
    assert resumed.update(resumed.unfinished) == first  # pyright: ignore[reportArgumentType]
    for _ in range(2):
        assert resumed.update(next(again)) == straight.update(next(acted))
    tables = [each.policy.actor.table for each in (resumed, straight)]
    assert torch.equal(*tables)  # pyright: ignore[reportArgumentType]


def test_the_aim_is_where_the_best_paid_row_came_to() -> None:
    """Rows that earn 1, 3 and 2 and end at the places 12, 22 and 31; a worse batch changes nothing;
    it is in the checkpoint.
    """
    policy = ActorCritic(Choices((40, 40)), Choices((2,)), generator=seeded(0))
    fit = Learner(policy, Schedule(1e-2, 10))
    made = [
        GoalCloning(
            policy, fit, Stopwatch(), goals=lambda n, g: torch.zeros(n).long(), generator=seeded(1),
            aim=Aimed(policy, Choices((40,))),
        )
        for _ in range(2)
    ]  # fmt: skip
    obs = torch.tensor([[10, 11, 12, 13], [20, 21, 22, 23], [30, 31, 32, 33]])
    chosen = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 0]]).bool()
    reward = torch.tensor([[1.0, 0, 9], [1, 2, 9], [2, 9, 9]])
    no = torch.zeros(3, 3, dtype=torch.bool)
    for worse in (0.0, 0.5):
        made[0].update(
            Trajectories(obs + round(10 * worse), no.long(), chosen, reward - worse, no, no)
        )
        aim = made[0].aim
        assert aim is not None
        assert (aim.goal.item(), aim.paid.item()) == (22, 3)
    second = made[1].aim
    assert second is not None
    nobody = chosen & torch.tensor([[False], [True], [True]])
    made[1].update(
        Trajectories(obs, no.long(), nobody, torch.where(nobody, reward - 9, torch.nan), no, no)
    )
    # a row without a choice, and its garbage, is not worth 0
    assert (second.goal.item(), second.paid.item()) == (
        31,
        -7,
    )
    made[1].load_state_dict(made[0].state_dict())
    assert made[1].aim is not None
    assert made[1].aim.goal.item() == 22
