"""A finished run's agent from Python: it does what the run's own player does, in the world's own
words, for every algorithm.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from rich.console import Console

from fledge.errors import UserError
from fledge.recipes.control.agents import Agent, load_agent
from fledge.recipes.control.config import ControlConfig
from fledge.recipes.control.control import control
from fledge.recipes.control.kinds import IMITATORS, KINDS
from fledge.runs.show import Show
from fledge.worlds.world import Choices


def trained(out: Path, **fields: Any) -> dict[str, Any]:
    own: dict[str, Any] = {
        "steps": 96, "copies": 2, "steps_per_batch": 24, "widths": (8,), "evaluate_every": 48,
        "evaluation_episodes": 2, "pictures": False, "save_every_s": 1000.0, "device": "cpu",
    }  # fmt: skip
    known = ControlConfig.compose(fields).model_fields
    small = {"rows_per_update": 12, "updates_per_step": 2, "learning_starts": 20}
    if "epochs" in known:  # which say how many updates there are
        small.pop("updates_per_step")
    own |= {name: value for name, value in small.items() if name in known}
    config = ControlConfig.read(own | {"out": out} | fields)
    return control(config, Show(Console(file=io.StringIO())))


class Everything(gymnasium.Env):
    """Shows a Dict; is told a number from 10 to 30; six steps; pays for numbers above 25."""

    observation_space = spaces.Dict(
        {"left": spaces.Discrete(7), "far": spaces.Box(-1, 1, (2,), np.float32)}
    )
    action_space: spaces.Space = spaces.Box(10, 30, (1,), np.float32)

    def seen(self) -> dict[str, Any]:
        return {"left": self.left, "far": np.array([self.left / 6, -1], np.float32)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict, dict]:
        self.left = 6
        return self.seen(), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        assert self.action_space.contains(action), action
        self.left -= 1
        return self.seen(), float(action[0] > 25), self.left == 0, False, {}


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experts")
    trained(folder / "ppo", algorithm="ppo", world="gridworld")
    return folder / "ppo"


REMEMBER = ("mpc", "dreamer")  # what they do hangs on what they have seen before
ONE_OF_EACH_KIND = {"ppo", "reinforce", "dqn", "q_learning", "sac", "dagger", "goal_cloning"}


@pytest.mark.parametrize(
    "algorithm",
    [
        name if name in ONE_OF_EACH_KIND else pytest.param(name, marks=pytest.mark.slow)
        for name in KINDS
        if name not in ("async", *REMEMBER)
    ],
)
def test_it_does_what_the_runs_own_player_does(
    algorithm: str, experts: Path, tmp_path: Path
) -> None:
    """Alone and in a row alike; numbers in the world's own units, inside its bounds."""
    chooses = Choices in KINDS[algorithm].actions
    world = "gridworld" if chooses else Everything
    trained(
        tmp_path / "run",
        algorithm=algorithm,
        world=world,
        expert=experts if algorithm in IMITATORS else None,
    )
    agent = load_agent(tmp_path / "run", "last", world=None if chooses else Everything)
    assert agent.card is not None
    assert agent.card.world_steps >= 96
    if chooses:
        seen: Any = np.arange(11)
        thought = agent.built.player.best(torch.arange(11)).numpy()
    else:
        seen = [{"left": i, "far": np.array([i / 6, -1], np.float32)} for i in range(7)]
        # `far` before `left`, as gymnasium sorts them
        rows = [[*([0.0] * 0), i / 6, -1.0, *np.eye(7)[i]] for i in range(7)]
        with torch.no_grad():
            unit = agent.built.player.best(torch.tensor(rows, dtype=torch.float32)).clamp(-1, 1)
        thought = 20 + 10 * unit.numpy()
    together = agent.act(seen)
    np.testing.assert_allclose(together, thought, rtol=1e-6)
    for one, wanted in zip(seen, together, strict=True):
        done = agent.act(one)
        np.testing.assert_allclose(done, wanted, rtol=1e-6)
        assert (agent.world.action if chooses else Everything.action_space) is not None
        assert chooses or Everything.action_space.contains(done)
    agent.close()


def test_it_plays_in_gymnasium_itself(tmp_path: Path) -> None:
    trained(tmp_path / "run", algorithm="ppo", world="Pendulum-v1")
    agent, world = load_agent(tmp_path / "run"), gymnasium.make("Pendulum-v1")
    seen, _ = world.reset(seed=1)
    for _ in range(5):
        action = agent.act(seen)
        assert action.shape == (1,)
        assert world.action_space.contains(action)
        seen, *_ = world.step(action)


def drawn(agent: Agent, obs: Any, n: int) -> np.ndarray:
    return np.stack([agent.act(obs, deterministic=False) for _ in range(n)])


def test_what_is_drawn_is_drawn_from_its_distribution_by_its_seed(
    experts: Path, tmp_path: Path
) -> None:
    """4,000 actions in one state, each frequency within 5 standard errors (of 4 actions, wrong once
    in 400,000); the same by one seed.
    """
    agent = load_agent(experts, "last", seed=3)
    policy: Any = agent.built.module
    with torch.no_grad():
        chance = policy.numbers(policy.encoder(torch.tensor([4]))).softmax(-1)[0].double().numpy()
    actions = agent.act(np.full(4000, 4), deterministic=False)
    share = np.bincount(actions, minlength=4) / 4000
    assert (np.abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / 4000)).all()
    again = load_agent(experts, "last", seed=3)
    assert np.array_equal(again.act(np.full(4000, 4), deterministic=False), actions)
    trained(tmp_path / "table", algorithm="q_learning", world="gridworld")
    with pytest.raises(UserError, match=r"q_learning.*has one action for every observation"):
        drawn(load_agent(tmp_path / "table"), 4, 1)
    trained(tmp_path / "sac", algorithm="sac", world="Pendulum-v1")
    agent = load_agent(tmp_path / "sac")
    assert np.unique(drawn(agent, np.zeros(3, np.float32), 6)).size == 6


def test_what_is_no_observation_or_no_agent_says_so(experts: Path, tmp_path: Path) -> None:
    agent = load_agent(experts)
    with pytest.raises(
        UserError, match=r"an observation \(2, 3\) was given, and gridworld shows \(\)"
    ):
        agent.act(np.zeros((2, 3), int))
    with pytest.raises(UserError, match="gridworld does not show such things"):
        agent.act({"a": object()})
    trained(tmp_path / "own", algorithm="ppo", world=Everything)
    with pytest.raises(UserError, match="was given as an object in Python"):
        load_agent(tmp_path / "own")
    agent = load_agent(tmp_path / "own", world=Everything)
    with pytest.raises(UserError, match="does not show such things"):
        agent.act({"left": 3})
    with pytest.raises(UserError, match="is not a run"):
        load_agent(tmp_path)
    (tmp_path / "own" / "model" / "agent.json").write_text("{}")
    with pytest.raises(UserError):
        load_agent(tmp_path / "own", world=Everything)


def test_an_agent_of_a_time_without_units_is_not_taken_for_one_with(tmp_path: Path) -> None:
    """Without agent.json only what was told from −1 to 1 then, too, still means the same."""
    for name, world in (("pendulum", "Pendulum-v1"), ("cart", "CartPole-v1")):
        trained(tmp_path / name, algorithm="ppo", world=world)
        (tmp_path / name / "model" / "agent.json").unlink()
        (tmp_path / name / "model.sha256").unlink()
        if (tmp_path / name / "best").exists():
            (tmp_path / name / "best" / "agent.json").unlink()
    with pytest.raises(UserError, match="has learned to act in the world's own units"):
        load_agent(tmp_path / "pendulum", "last")
    assert load_agent(tmp_path / "cart", "last").act(np.zeros(4, np.float32)) in (0, 1)
