"""The table's actor: how often it does what, what it numbers, how fast it learns; and every tabular
method cut, ended and resumed.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from fledge.algorithms.parts.action_table import (
    ActionTable,
    TableSettings,
    constant_rate,
    falling_rate,
)
from fledge.algorithms.value.dqn import Exploration
from fledge.algorithms.value.monte_carlo import MonteCarlo
from fledge.algorithms.value.tabular import EXPECTED_SARSA, Q_LEARNING, SARSA, Tabular
from fledge.errors import UserError
from fledge.runs.state import flatten, unflatten
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.worlds.gridworld import CLASSIC, read_gridworld
from fledge.worlds.mdp import MDP
from fledge.worlds.mdp_world import MDPWorld
from fledge.worlds.world import Box, Choices

EVERY: dict[str, TableSettings] = {
    "q": Q_LEARNING,
    "sarsa": SARSA,
    "expected": EXPECTED_SARSA,
    "first visits": MonteCarlo.Settings(),
    "every visit": MonteCarlo.Settings(first_visit=False),
}


def made(method: str, table: ActionTable, stopwatch: Stopwatch, gamma: float) -> Any:
    settings = EVERY[method].replace(gamma=gamma)
    kind: Any = MonteCarlo if isinstance(settings, MonteCarlo.Settings) else Tabular
    return kind(table, stopwatch, settings)


def test_acts_by_epsilon_and_shares_ties():
    """60,000 draws a state; each frequency within 5 standard deviations: a false alarm in 10⁵."""
    table = ActionTable(Choices((2,)), Choices((4,)), exploration=Exploration(0.2, 0.2))
    table.q[0] = torch.tensor([1.0, 3.0, 3.0, -1.0])
    expected = torch.tensor([[0.05, 0.45, 0.45, 0.05], [0.25] * 4], dtype=torch.float64)
    obs = torch.tensor([0, 1])
    torch.testing.assert_close(table.chances(obs), expected)
    many = obs.repeat_interleave(60_000)
    action, logp = table.act(many, torch.Generator().manual_seed(5))
    torch.testing.assert_close(logp, expected[many, action].log().float())
    share = torch.nn.functional.one_hot(action, 4).double().view(2, -1, 4).mean(1)
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / 60_000).sqrt()).all()
    assert table.best(obs).tolist() == [1, 0]


def test_no_exploring_never_draws_another():
    table = ActionTable(Choices((1,)), Choices((3,)), exploration=Exploration(0.0, 0.0))
    table.q[0] = torch.tensor([0.0, 0.0, 1.0])
    assert (table.act(torch.zeros(10_000).long(), torch.Generator().manual_seed(0))[0] == 2).all()
    table.q[0] = torch.tensor([1.0, 0.0, 0.0])
    assert (table.act(torch.zeros(10_000).long(), torch.Generator().manual_seed(0))[0] == 0).all()


def test_several_choices_are_numbered_row_by_row():
    table = ActionTable(Choices((2, 3)), Choices((2,)), initial=7.0)
    assert table.q.shape == (6, 2)
    assert (table.q == 7).all()
    every = torch.cartesian_prod(torch.arange(2), torch.arange(3))  # [6, 2]
    assert table.states(every).tolist() == list(range(6))
    assert table.states(every.view(2, 3, 2)).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_rates():
    assert [constant_rate(0.3)(n) for n in (1, 7)] == [0.3, 0.3]
    assert falling_rate()(4) == 0.25
    assert falling_rate(0.5)(4) == 0.5


def test_exploring_falls_with_what_was_taught():
    table = ActionTable(
        Choices((1,)), Choices((2,)), exploration=Exploration(1.0, 0.0, world_steps=100)
    )
    assert table.epsilon == 1.0
    table.taught = 75
    assert table.epsilon == 0.25


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        (Box(-torch.ones(2), torch.ones(2)), Choices((2,))),
        (Choices((2,)), Choices((2, 2))),
        (Choices((2,)), Box(-torch.ones(1), torch.ones(1))),
    ],
)
def test_other_spaces_are_refused(observation, action):
    with pytest.raises(UserError, match="Take DQN or PPO for the rest"):
        ActionTable(observation, action)


def test_the_mean_of_all_targets_is_the_default():
    """A state that pays 1 or 0 by turns and ends: Q is the mean of what was paid."""
    halves = MDP(
        torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]),
        torch.tensor([[0.5], [0.0]]),
        1.0,
        terminal=torch.tensor([False, True]),
    )
    world = MDPWorld(halves, 3)
    table, stopwatch = ActionTable(world.observation, world.action), Stopwatch()
    learner, episodes = (
        Tabular(table, stopwatch, settings=Q_LEARNING.replace(gamma=1.0)),
        Episodes(world, table, stopwatch, steps=8, seed=0),
    )
    learner.update(next(episodes))
    assert table.q[0, 0].item() == 0.5
    assert table.visits[0, 0].item() == 12


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("cut", [True, False])
def test_time_that_is_up_is_not_the_end(method, cut):
    """A world that pays 1 a step and is cut after 10 is worth 1/(1 − γ) = 10 to whoever bootstraps;
    one that ends, (1 − γ¹⁰)/(1 − γ).

    Monte Carlo believes what it saw, and no more.
    """
    finite = (1 - 0.9**10) / (1 - 0.9)
    if cut:
        mdp = MDP(torch.ones(1, 1, 1), torch.ones(1, 1), 0.9)
    else:
        go = torch.eye(11).roll(1, 1)
        go[10] = torch.eye(11)[10]
        pay = torch.ones(11, 1)
        pay[10] = 0.0
        mdp = MDP(go[None], pay, 0.9, terminal=torch.arange(11) == 10, start=torch.eye(11)[0])
    world = MDPWorld(mdp, 4, time_limit=10)
    table, stopwatch = (
        ActionTable(world.observation, world.action, rate=constant_rate(0.5)),
        Stopwatch(),
    )
    learner, episodes = (
        made(method, table, stopwatch, 0.9),
        Episodes(world, table, stopwatch, steps=11, seed=0),
    )
    for _ in range(80):
        learner.update(next(episodes))
    if cut and method == "every visit":
        # From the last step to the first: Q ← ½Q + ½G_k for returns G_1 … G_10, to the fixed point.
        returns = [(1 - 0.9**k) / (1 - 0.9) for k in range(1, 11)]
        expected = sum(g * 0.5 ** (10 - k) / 2 for k, g in enumerate(returns, 1)) / (1 - 0.5**10)
    else:
        expected = 10.0 if cut and method in ("q", "sarsa", "expected") else finite
    assert table.q[0, 0].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("method", EVERY)
def test_resumes_bit_for_bit_through_a_file(method):
    """Saved in the middle of episodes, and of a SARSA step that waits for its next action."""

    def everything() -> tuple[ActionTable, Any, Episodes]:
        world = MDPWorld(read_gridworld(CLASSIC, gamma=0.9).mdp(), 5, time_limit=30)
        table, stopwatch = (
            ActionTable(world.observation, world.action, exploration=Exploration(1.0, 0.1, 500)),
            Stopwatch(),
        )
        return (
            table,
            made(method, table, stopwatch, 0.9),
            Episodes(world, table, stopwatch, steps=7, seed=3),
        )

    table, learner, episodes = everything()
    for _ in range(10):
        learner.update(next(episodes))
    plain, tensors = flatten({"learner": learner.state_dict(), "episodes": episodes.state_dict()})
    state = unflatten(
        json.loads(json.dumps(plain)), {name: tensor.clone() for name, tensor in tensors.items()}
    )
    other, again, others = everything()
    again.load_state_dict(state["learner"])
    others.load_state_dict(state["episodes"])
    assert learner.unfinished is None
    for _ in range(10):
        assert learner.update(next(episodes)) == again.update(next(others))
    assert torch.equal(table.q, other.q)
    assert torch.equal(table.visits, other.visits)
    assert table.taught == other.taught > 500
    assert learner.state_dict().keys() == again.state_dict().keys()


@pytest.mark.parametrize("method", EVERY)
def test_nobody_looks_in_while_a_table_is_half_taught(method):
    """A table has no optimizer steps to stop between: what it was taught and the batch it was
    taught by are saved together, or neither.
    """
    looked = []
    world = MDPWorld(read_gridworld(CLASSIC, gamma=0.9).mdp(), 2)
    table, stopwatch = ActionTable(world.observation, world.action), Stopwatch()
    learner, episodes = (
        made(method, table, stopwatch, 0.9),
        Episodes(world, table, stopwatch, steps=4, seed=0),
    )
    learner.update(next(episodes), lambda: looked.append(table.taught))
    assert table.taught == 8
    assert not looked
