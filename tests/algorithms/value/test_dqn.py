"""DQN's targets by hand, Q* of a small process by linear algebra, what truncation and termination
are worth, and exact resumption.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fledge.algorithms.parts.exploration import Exploration
from fledge.algorithms.value.dqn import DQN
from fledge.learner import Learner, Schedule
from fledge.models.control.q_network import QNetwork
from fledge.optimizers import adamw
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.sample.replay import Replay, Surprise, Transitions
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.batched_cartpole import BatchedCartPole
from fledge.worlds.mdp import MDP
from fledge.worlds.mdp_world import MDPWorld
from fledge.worlds.world import Choices
from tests.algorithms.small_worlds import LENGTH, Ten, values_of_ten
from tests.subjects import come_as_often_as, figures_close, seeded

TWO = Choices((2,))


class Stop(Exception):
    """The process ends here."""


def dqn(
    observation: Choices,
    *,
    seed: int = 0,
    schedule: Schedule | None = None,
    surprise: Surprise | None = None,
    micro: int | None = None,
    widths: tuple[int, ...] = (),
    dueling: bool = False,
    exploration: Exploration | None = None,
    **settings: Any,
) -> DQN:
    network = QNetwork(observation, TWO, generator=seeded(seed), widths=widths, dueling=dueling)
    learner = Learner(
        network,
        schedule or Schedule(0.03, 1000),
        optimizer=adamw(betas=(0.9, 0.999), weight_decay=0.0),
        clip=0.0,
        rows_per_micro_batch=micro,
    )
    replay = Replay(4000, generator=seeded(seed + 1), surprise=surprise)
    plain: dict[str, Any] = {"learning_starts": 0, "rows_per_update": 64}
    return DQN(
        network,
        learner,
        Stopwatch(),
        DQN.Settings(**plain | settings),
        replay=replay,
        exploration=exploration,
    )


def set_table(network: torch.nn.Module, q: torch.Tensor) -> None:
    """Q(s, a) = q[s, a]."""
    weight, bias = network.parameters()
    with torch.no_grad():
        weight.copy_(q.T)
        bias.zero_()


def some_rows() -> Transitions:
    """Four steps of 3 states: plain, terminated, and two of several rewards."""
    return Transitions(
        obs=torch.tensor([0, 1, 2, 0]),
        action=torch.tensor([0, 1, 0, 1]),
        reward=torch.tensor([1.0, 2.0, -1.0, 0.5]),
        next_obs=torch.tensor([1, 2, 0, 2]),
        discount=torch.tensor([0.9, 0.9, 0.81, 0.729]),
        terminated=torch.tensor([False, True, False, True]),
        weight=torch.ones(4),
        index=torch.arange(4),
    )


@pytest.mark.parametrize("double", [True, False])
def test_the_target_is_the_formula_and_only_termination_ends_it(double: bool) -> None:
    """Q and Q⁻ as tables that disagree about the best action in state 1."""
    algorithm = dqn(Choices((3,)), double=double)
    set_table(algorithm.network, torch.tensor([[4.0, 3.0], [0.0, 1.0], [2.0, 0.0]]))
    set_table(
        algorithm.target_network.network, torch.tensor([[10.0, 20.0], [50.0, 30.0], [70.0, 80.0]])
    )
    if double:  # the action that Q likes, at Q⁻'s price: 30 in state 1, 10 in state 0
        expected = [1 + 0.9 * 30, 2, -1 + 0.81 * 10, 0.5]
    else:
        expected = [1 + 0.9 * 50, 2, -1 + 0.81 * 20, 0.5]
    torch.testing.assert_close(algorithm.target(some_rows()), torch.tensor(expected))


def random_process(states: int, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """P [A, S, S], R [S, A] and γ."""
    random = np.random.default_rng(seed)
    return (
        random.dirichlet(np.full(states, 0.5), (2, states)),
        random.uniform(-0.5, 0.5, (states, 2)),
        0.8,
    )


def optimal_q(transition: np.ndarray, reward: np.ndarray, gamma: float) -> np.ndarray:
    """Q* by trying every deterministic policy: V = (I − γP_π)⁻¹R_π, and the best of them in every
    state.  -> [S, A]
    """
    S = len(reward)
    best = np.full(S, -np.inf)
    for number in range(2**S):
        policy = np.array([(number >> s) & 1 for s in range(S)])
        chain, pay = transition[policy, np.arange(S)], reward[np.arange(S), policy]
        best = np.maximum(best, np.linalg.solve(np.eye(S) - gamma * chain, pay))
    return reward + gamma * np.einsum("ast,t->sa", transition, best)


@pytest.mark.parametrize(
    ("double", "surprise"),
    [(True, None), (False, None), (True, Surprise())],
    ids=["double", "single", "surprise"],
)
def test_a_table_converges_to_q_star(double: bool, surprise: Surprise | None) -> None:
    """5 states, 2 actions, γ = 0.8, all actions at random: within 0.05, where Q* spreads over more
    than 1.

    One step at a time: returns of several are the policy's that acted. Rewards and γ keep errors
    below 1, where Huber's loss is the square and its minimum the mean; the rate falls to 0, so that
    the noise of the outcomes is averaged away.
    """
    transition, reward, gamma = random_process(5, seed=4)
    expected = optimal_q(transition, reward, gamma)
    assert np.ptp(expected) > 1
    world = MDPWorld(MDP(torch.tensor(transition), torch.tensor(reward), gamma), 16)
    algorithm = dqn(
        Choices((5,)),
        schedule=Schedule(0.05, 1500, shape="linear", final=0.0),
        exploration=Exploration(1.0, 1.0, 1),
        gamma=gamma,
        updates_per_step=15,
        rows_per_update=256,
        target_every=10,
        n_step=1,
        double=double,
        surprise=surprise,
    )
    episodes = Episodes(world, algorithm, Stopwatch(), steps=32, seed=0)
    for _ in range(100):
        algorithm.update(next(episodes))
    with torch.no_grad():
        learnt = algorithm.network(torch.arange(5)).numpy()
    assert np.abs(learnt - expected).max() < 0.05
    assert algorithm.best(torch.arange(5)).tolist() == expected.argmax(1).tolist()


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("terminates", [True, False], ids=["terminated", "truncated"])
def test_what_is_cut_off_counts_and_what_has_ended_does_not(terminates: bool, n_step: int) -> None:
    """γ = 0.9: 10 everywhere where time is up after ten steps, the finite sum where the world ends;
    within 0.02.
    """
    algorithm = dqn(
        Choices((LENGTH + 1,)),
        schedule=Schedule(0.1, 1000, shape="linear", final=0.0),
        gamma=0.9,
        n_step=n_step,
        updates_per_step=50,
        target_every=10,
    )
    episodes = Episodes(
        Ten(4, terminates=terminates, action=TWO), algorithm, Stopwatch(), steps=11, seed=0
    )
    for _ in range(20):
        algorithm.update(next(episodes))
    seen = torch.arange(LENGTH) if terminates else torch.zeros(LENGTH, dtype=torch.long)
    with torch.no_grad():
        learnt = algorithm.network(seen)
    expected = values_of_ten(0.9, terminates)[:, None].expand(-1, 2)
    torch.testing.assert_close(learnt, expected, rtol=0, atol=0.02)


def test_it_balances_the_pole_within_20_000_steps() -> None:
    """CartPole-v1 with the settings of its own: 475 or more in 20 episodes that are not its own.
    Seeds 0 to 9 took 5,500 to 10,600.
    """
    world, judge = BatchedCartPole(8), BatchedCartPole(20)
    network = QNetwork(world.observation, world.action, generator=seeded(0))
    learner = Learner(
        network,
        Schedule(2.3e-3, 6000, shape="linear"),
        optimizer=adamw(betas=(0.9, 0.999), weight_decay=0.0),
        clip=10.0,
    )
    algorithm = DQN(network, learner, Stopwatch(), replay=Replay(100_000, generator=seeded(0)))
    episodes = Episodes(world, algorithm, Stopwatch(), steps=32, seed=0)
    earned = torch.zeros(20)
    while float(earned.mean()) < 475:
        assert episodes.taken < 20_000
        for _ in range(4):
            algorithm.update(next(episodes))
        obs, going, earned = judge.reset(99), torch.ones(20, dtype=torch.bool), torch.zeros(20)
        while bool(going.any()):
            step = judge.step(algorithm.best(obs))
            earned += going * step.reward
            obs, going = step.obs, going & ~(step.terminated | step.truncated)


def test_epsilon_falls_in_a_line_with_the_world_steps_and_is_how_often_anything_is_done() -> None:
    """20,000 actions at ε = 0.4 of three, of which the network likes the second: χ², false alarm 1
    in 10,000.
    """
    exploration = Exploration(0.9, 0.1, 400)
    assert [exploration.epsilon(n) for n in (0, 100, 400, 9999)] == pytest.approx(
        [0.9, 0.7, 0.1, 0.1]
    )
    network = QNetwork(Choices((2,)), Choices((3,)), generator=seeded(0), widths=())
    set_table(network, torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]]))
    learner = Learner(network, Schedule(0.1, 10))
    memory = Replay(100, generator=seeded(0))
    algorithm = DQN(
        network, learner, Stopwatch(), replay=memory, exploration=Exploration(0.4, 0.4, 1)
    )
    action, logp = algorithm.act(torch.zeros(20_000, dtype=torch.long), seeded(3))
    assert logp is None
    count = {a: int((action == a).sum()) for a in range(3)}
    come_as_often_as({0: 0.4 / 3, 1: 0.6 + 0.4 / 3, 2: 0.4 / 3}, count)
    assert algorithm.best(torch.zeros(3, dtype=torch.long)).tolist() == [1, 1, 1]


def test_nothing_is_learned_before_learning_starts_and_epsilon_counts_chosen_steps_only() -> None:
    algorithm = dqn(
        Choices((LENGTH + 1,)),
        learning_starts=41,
        updates_per_step=3,
        exploration=Exploration(1.0, 0.0, 80),
    )
    episodes = Episodes(
        Ten(4, terminates=True, action=TWO), algorithm, Stopwatch(), steps=11, seed=0
    )
    first, second = algorithm.update(next(episodes)), algorithm.update(next(episodes))
    # 44 steps, 4 of which only begin anew
    assert first == {
        "updates": 0,
        "remembered": 40,
        "epsilon": 0.5,
    }
    assert second["updates"] == algorithm.learner.steps == 3
    assert second["remembered"] == 80
    assert second["epsilon"] == 0


@pytest.mark.parametrize("surprise", [None, Surprise()])
@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_an_update_broken_off_between_two_steps_continues_with_the_same_bits(
    stop_after: int, surprise: Surprise | None, tmp_path: Path
) -> None:
    """All of it through a checkpoint on disk: both networks, optimizer, memory, ε, draws, figures
    so far; then acting and a second batch.
    """
    kind: dict[str, Any] = {
        "surprise": surprise,
        "widths": (8, 8),
        "dueling": True,
        "updates_per_step": 4,
        "target_every": 3,
        "exploration": Exploration(1.0, 0.1, 200),
        "n_step": 2,
    }
    straight, broken, resumed = (dqn(Choices((LENGTH + 1,)), seed=s, **kind) for s in (0, 0, 7))
    world = Ten(4, terminates=True, action=TWO)
    episodes = Episodes(world, straight, Stopwatch(), steps=16, seed=0)
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
    obs = torch.arange(LENGTH).repeat(20)
    assert torch.equal(resumed.act(obs, seeded(5))[0], straight.act(obs, seeded(5))[0])
    assert resumed.update(batches[2]) == straight.update(batches[2])
    for mine, theirs in zip(
        resumed.network.parameters(), straight.network.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)
    held = [algorithm.target_network.network.state_dict() for algorithm in (resumed, straight)]
    assert all(torch.equal(held[0][name], held[1][name]) for name in held[1])


def test_micro_batches_never_change_the_numbers() -> None:
    whole, cut = (
        dqn(Choices((LENGTH + 1,)), widths=(8,), updates_per_step=3, surprise=Surprise(), micro=m)
        for m in (None, 5)
    )
    batch = next(
        Episodes(Ten(4, terminates=True, action=TWO), whole, Stopwatch(), steps=16, seed=0)
    )
    figures_close(cut.update(batch), whole.update(batch), 1e-4)
    for mine, theirs in zip(cut.network.parameters(), whole.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    for memory in (cut.steps.replay, whole.steps.replay):
        assert memory.priorities is not None
    of_cut, of_whole = cut.steps.replay.priorities, whole.steps.replay.priorities
    assert of_cut is not None
    assert of_whole is not None
    np.testing.assert_allclose(of_cut.numbers, of_whole.numbers, rtol=1e-3)


def test_the_loss_is_hubers_weighted_and_the_error_goes_back_to_the_memory() -> None:
    """One step on a memory of one transition: δ = 3 costs |δ| − ½, and its priority becomes (3 +
    ε)^α.
    """
    algorithm = dqn(
        Choices((2,)), surprise=Surprise(alpha=0.5), updates_per_step=1, rows_per_update=6
    )
    set_table(algorithm.network, torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    no = torch.zeros(1, 1, dtype=torch.bool)
    step = Trajectories(
        torch.tensor([[0, 1]]),
        torch.zeros(1, 1, dtype=torch.long),
        ~no,
        torch.full((1, 1), 5.0),
        ~no,
        no,
    )
    figures = algorithm.update(step)
    assert figures["loss"] == pytest.approx(2.5)
    assert figures["q"] == pytest.approx(2.0)
    assert figures["td_error"] == pytest.approx(3.0)
    memory = algorithm.steps.replay
    assert memory.priorities is not None
    assert memory.priorities.numbers[0] == pytest.approx(3**0.5, rel=1e-5)


@pytest.mark.parametrize(
    "setting", ["n_step", "rows_per_update", "target_every", "updates_per_step"]
)
def test_settings_that_cannot_be_are_refused(setting: str) -> None:
    settings: dict[str, Any] = {setting: 0}
    with pytest.raises(ValueError, match=setting):
        dqn(Choices((2,)), **settings)


def test_importance_weights_count_in_full_where_the_schedule_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    algorithm = dqn(
        Choices((LENGTH + 1,)), schedule=Schedule(0.03, 8), surprise=Surprise(), updates_per_step=4
    )
    draw, gone = algorithm.steps.replay.draw, []
    monkeypatch.setattr(
        algorithm.steps.replay,
        "draw",
        lambda *given, **named: gone.append(named["gone"]) or draw(*given, **named),
    )
    episodes = Episodes(
        Ten(4, terminates=True, action=TWO), algorithm, Stopwatch(), steps=11, seed=0
    )
    for _ in range(2):
        algorithm.update(next(episodes))
    assert gone == [step / 8 for step in range(8)]


def test_it_is_double_unless_told_otherwise() -> None:
    """van Hasselt et al. 2016: the best action by Q, its worth by Q⁻."""
    algorithm = dqn(Choices((2,)))
    with torch.no_grad():
        for network, best in ((algorithm.network, 0), (algorithm.target_network.network, 1)):
            for parameter in network.parameters():
                parameter.zero_()
            list(network.parameters())[-1][best] = 1.0
        seen = torch.zeros(2, dtype=torch.long)
        no = torch.zeros(2, dtype=torch.bool)
        ones = torch.ones(2)
        rows = Transitions(seen, seen, 0 * ones, seen, ones, no, ones, seen)
        assert algorithm.target(rows).tolist() == [0, 0]  # what Q⁻ says of Q's best
        assert float(algorithm.target_network.network(seen).amax()) == 1
