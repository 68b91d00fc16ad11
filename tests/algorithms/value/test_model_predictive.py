"""Model-predictive control: its value's target by hand, the same numbers in pieces and after a
stop, and planning in the true world.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.algorithms.value.model_predictive import ModelPredictive
from fledge.learner import Learner, Schedule
from fledge.models.control.foresight import Foresight
from fledge.models.control.world_ensemble import WorldEnsemble
from fledge.optimizers import adamw
from fledge.plan.world_copies import WorldCopies
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.sample.replay import Replay, Transitions
from fledge.stopwatch import Stopwatch
from fledge.worlds.batched_cartpole import BatchedCartPole
from fledge.worlds.make import make_world
from tests.subjects import figures_close, seeded


class Stop(Exception):
    """The process ends here."""


def planner(
    world_name: str = "CartPole-v1", *, seed: int = 0, micro: int | None = None, **settings: Any
) -> tuple[ModelPredictive, Any]:
    world = make_world(world_name, 2)
    kind: dict[str, Any] = {
        "learning_starts": 20, "updates_per_step": 3, "rows_per_update": 8, "members": 2,
        "horizon": 4, "candidates": 8, "kept": 2,
    }  # fmt: skip
    s = ModelPredictive.Settings(**kind | settings)
    random = seeded(seed)
    ensemble = WorldEnsemble(
        world.observation, world.action, generator=random, members=s.members, widths=(8,)
    )
    foresight = Foresight(
        world.observation, ensemble, generator=random, widths=(8,),
        terminal_value=s.terminal_value, distilled=s.novelty == "rnd",
    )  # fmt: skip
    learner = Learner(
        foresight, Schedule(1e-2, 1000), optimizer=adamw(weight_decay=0.0), clip=0.0,
        rows_per_micro_batch=micro,
    )  # fmt: skip
    replay = Replay(1000, generator=seeded(seed + 1))
    algorithm = ModelPredictive(
        foresight, learner, Stopwatch(), s, action=world.action, replay=replay
    )
    return algorithm, world


def test_of_what_was_done_the_target_is_the_formula_and_only_termination_ends_it() -> None:
    algorithm, _ = planner(value_candidates=0)
    seen = torch.randn(2, 30, 4, generator=seeded(2))
    algorithm.foresight.watch(seen[0], torch.ones(30), seen[1])
    assert algorithm.target_value is not None
    after = torch.randn(3, 4, generator=seeded(4))
    rows = Transitions(
        torch.zeros(3, 4), torch.zeros(3).long(), torch.tensor([1.0, 2.0, 3.0]), after,
        torch.tensor([0.9, 0.9, 0.81]), torch.tensor([False, True, False]), torch.ones(3),
        torch.arange(3),
    )  # fmt: skip
    with torch.no_grad():
        future = algorithm.target_value.network(algorithm.foresight.scale(after))
    assert future.abs().min() > 1e-4
    expected = torch.tensor([1 + 0.9 * future[0], 2.0, 3 + 0.81 * future[2]])
    torch.testing.assert_close(algorithm.target(rows), expected)


@pytest.mark.parametrize("settings", [{}, {"novelty": "rnd", "planner": "mppi"}])
def test_micro_batches_never_change_the_numbers(settings: dict[str, Any]) -> None:
    (whole, world), (cut, _) = (planner(micro=m, **settings) for m in (None, 3))
    batches = Episodes(world, whole, Stopwatch(), steps=16, seed=0)
    for _ in range(2):
        batch = next(batches)
        figures_close(cut.update(batch), whole.update(batch), 1e-3)
    pairs = zip(cut.foresight.parameters(), whole.foresight.parameters(), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stop_after", [1, 3])
@pytest.mark.parametrize(
    ("world_name", "settings"),
    [
        ("CartPole-v1", {}),
        ("CartPole-v1", {"planner": "mppi", "novelty": "disagreement", "value_candidates": 0}),
        ("Pendulum-v1", {"planner": "gradient", "rounds": 1}),
        ("Pendulum-v1", {"novelty": "rnd", "planner": "shooting"}),
    ],
)
def test_a_stopped_run_goes_on_with_the_same_bits(
    world_name: str, settings: dict[str, Any], stop_after: int, tmp_path: Path
) -> None:
    """All through a checkpoint on disk, in the middle of an update: networks, optimizer, memory,
    plans under way, figures; then acting, a second batch, and a player.
    """
    (straight, world), (broken, _), (other, _) = (
        planner(world_name, seed=s, **settings) for s in (0, 0, 7)
    )
    episodes = Episodes(world, straight, Stopwatch(), steps=14, seed=0)
    batches = [next(episodes)]
    straight.update(batches[0])
    batches += [next(episodes)]
    broken.update(batches[0])
    broken.looking.load_state_dict(straight.looking.state_dict())
    figures, made = straight.update(batches[1]), 0

    def between_steps() -> None:
        nonlocal made
        made += 1
        if made == stop_after:
            save_state(tmp_path / "state", broken.state_dict())
            raise Stop

    with pytest.raises(Stop):
        broken.update(batches[1], between_steps)
    other.load_state_dict(load_state(tmp_path / "state"))
    assert other.unfinished is not None
    assert other.update(other.unfinished) == figures
    for algorithm in (straight, other):
        algorithm.begin_anew(torch.tensor([True, False]))
    obs = batches[1].obs[:, -1]
    for _ in range(2):
        assert torch.equal(other.act(obs, seeded(5))[0], straight.act(obs, seeded(5))[0])
    assert torch.equal(other.best(obs), straight.best(obs))
    batch = next(episodes)
    assert other.update(batch) == straight.update(batch)
    theirs = straight.foresight.state_dict()
    for name, mine in other.foresight.state_dict().items():
        assert torch.equal(mine, theirs[name]), name


def test_planning_in_the_true_world_keeps_the_pole_up() -> None:
    """CartPole-v1, 200 steps in each of two copies, twelve steps ahead in copies of the world, no
    value, nothing learned.
    """
    world = BatchedCartPole(2)
    settings = ModelPredictive.Settings(
        model="true", terminal_value=False, horizon=12, candidates=24, kept=4, rounds=2
    )
    foresight = Foresight(
        world.observation, None, generator=seeded(0), widths=(4,), terminal_value=False,
        distilled=False,
    )  # fmt: skip
    algorithm = ModelPredictive(
        foresight, None, Stopwatch(), settings, action=world.action,
        replay=Replay(1000, generator=seeded(0)), true_world=WorldCopies(BatchedCartPole),
    )  # fmt: skip
    episodes = Episodes(world, algorithm, Stopwatch(), steps=200, seed=0)
    batch = next(episodes)
    assert not batch.terminated.any()
    assert algorithm.update(batch) == {"remembered": 400.0}


def test_a_player_plans_the_same_each_time_it_is_asked_for() -> None:
    """Its draws and its plans are its own, begun anew, and nobody else's plans move."""
    algorithm, world = planner()
    episodes = Episodes(world, algorithm, Stopwatch(), steps=14, seed=0)
    algorithm.update(next(episodes))
    obs = world.reset(3)
    before = algorithm.looking.state_dict()
    first = algorithm.best
    said = [first(obs), first(obs)]
    again = algorithm.best
    assert torch.equal(again(obs), said[0])
    assert torch.equal(again(obs), said[1])
    after = algorithm.looking.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
