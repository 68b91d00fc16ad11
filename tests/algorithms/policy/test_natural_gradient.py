"""The natural gradient's step solves its linear system, is the same in pieces, and goes on after a
stop; critics know cut from ended.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fledge.algorithms.policy.natural_gradient import (
    FixedRate,
    NaturalGradient,
    StepSettings,
)
from fledge.algorithms.policy.trpo import TRPO
from fledge.errors import Diverged, UserError
from fledge.learner import Learner, Schedule
from fledge.models.control.actor_critic import ActorCritic
from fledge.optimizers import adamw
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from tests.algorithms.counted_worlds import Circle
from tests.algorithms.heads import EXACT, HEADS, actor_critic, algorithm, flat, samples
from tests.subjects import GARBAGE, learner, seeded


def test_on_a_table_the_step_is_the_solution_of_a_linear_system() -> None:
    """Softmax of a table over five places: F is a block d(s)·(diag π − π πᵀ) for each, and the
    advantage here is the reward.
    """
    table = nn.Linear(5, 3, bias=False)
    both = actor_critic("one choice", width=5, actor=table)
    with torch.no_grad():
        both.critic[-1].weight.zero_()  # pyright: ignore[reportCallIssue]
    batch = samples(both, rows=16, steps=8)
    place = torch.randint(0, 5, (16, 9), generator=seeded(7))
    batch = batch.replace(obs=torch.eye(5, dtype=torch.float64)[place])
    pi = torch.softmax(
        table.weight.detach().T / math.sqrt(1 + 1e-8), -1
    ).numpy()  # the encoder divides by a spread of 1
    seen, done, reward = (
        x[batch.chosen].numpy() for x in (place[:, :-1], batch.action, batch.reward)
    )
    fisher, gradient = np.zeros((15, 15)), np.zeros(15)
    for s, a, r in zip(seen, done, reward, strict=True):
        block = slice(3 * s, 3 * s + 3)
        fisher[block, block] += (np.diag(pi[s]) - np.outer(pi[s], pi[s])) / len(seen)
        gradient[block] += r * (np.eye(3)[a] - pi[s]) / len(seen)
    expected = np.linalg.solve(fisher + 1e-3 * np.eye(15), gradient).reshape(5, 3)
    before = table.weight.detach().clone()
    made = NaturalGradient(
        both,
        learner(both.critic, rate=0.0),
        Stopwatch(),
        NaturalGradient.Settings(
            natural_rate=0.7,
            gamma=0.0,
            gae_lambda=0.0,
            whiten_advantage=False,
            damping=1e-3,
            solver_steps=40,
            updates_per_step=10,
        ),
        generator=seeded(0),
    )
    figures = made.update(batch.replace(logp=None))
    moved = (table.weight.detach() - before).T.numpy()
    np.testing.assert_allclose(moved, 0.7 * expected, rtol=1e-4, atol=1e-5)
    assert figures["policy_grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
    assert figures["policy_gain"] > 0


def gae_by_sums(batch: Trajectories, value: Tensor, gamma: float, lam: float) -> Tensor:
    """Schulman et al. 2016, eq. 16, as it is written: Â_t = Σ_l (γλ)^l δ_{t+l}, up to the end of
    the episode.  -> [B, T]
    """
    advantage = torch.zeros_like(batch.reward)
    for b, t in batch.chosen.nonzero().tolist():
        own = [s for s in range(t, batch.chosen.shape[1]) if batch.chosen[b, s]]
        for i, s in enumerate(own):
            ended, cut = bool(batch.terminated[b, s]), bool(batch.truncated[b, s])
            later = own[i + 1] if i + 1 < len(own) else batch.chosen.shape[1]
            ahead = 0.0 if ended else float(value[b, s + 1 if cut else later])
            advantage[b, t] += (gamma * lam) ** i * (
                batch.reward[b, s] + gamma * ahead - value[b, s]
            )
            if ended or cut:
                break
    return advantage


def test_the_advantage_is_that_of_gae_brought_to_mean_0_and_spread_1() -> None:
    both = actor_critic("one choice")
    batch = samples(both)
    with torch.no_grad():
        value = both.value(batch.obs)
    expected = gae_by_sums(batch, value, 0.9, 0.7)
    plain, _ = algorithm(both, gamma=0.9, gae_lambda=0.7, whiten_advantage=False).weigh(batch)
    torch.testing.assert_close(plain.weight, expected, **EXACT)
    torch.testing.assert_close(
        plain.target, torch.where(batch.chosen, expected + value[:, :-1], 0.0), **EXACT
    )
    inside = expected[batch.chosen]
    whitened, _ = algorithm(both, gamma=0.9, gae_lambda=0.7).weigh(batch)
    torch.testing.assert_close(
        whitened.weight[batch.chosen], (inside - inside.mean()) / inside.std(), **EXACT
    )


@pytest.mark.parametrize("usual", [NaturalGradient.Settings(), TRPO])
@HEADS
def test_an_update_is_the_same_in_pieces_and_whatever_stands_where_nothing_was_chosen(
    name: str, usual: StepSettings
) -> None:
    outcomes = []
    for micro, garbage in [(None, None), (1, None), (4, None), *((None, kind) for kind in GARBAGE)]:
        both = actor_critic(name)
        batch = samples(both)
        if garbage is not None:
            spoilt = torch.where(batch.chosen, batch.reward, garbage)
            assert batch.logp is not None
            logp = torch.where(batch.chosen, batch.logp, garbage)
            batch = batch.replace(reward=spoilt, logp=logp)
        figures = algorithm(both, usual, micro).update(batch)
        outcomes.append((flat(both.parameters()), flat(both.buffers()), figures["policy_kl"]))
    for weights, seen, distance in outcomes[1:]:
        torch.testing.assert_close(weights, outcomes[0][0], rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(seen, outcomes[0][1], **EXACT)
        assert distance == pytest.approx(outcomes[0][2], rel=1e-8)


class Stop(Exception):
    """The process ends here."""


@pytest.mark.parametrize("stop_after", [1, 3, 4])
@HEADS
def test_an_update_broken_off_between_two_steps_continues_with_the_same_bits(
    name: str, stop_after: int, tmp_path: Path
) -> None:
    """Through a checkpoint on disk, the statistics of observations included; then a second
    batch.
    """
    straight, broken, resumed = (algorithm(actor_critic(name, seed=seed)) for seed in (0, 0, 5))
    batch = samples(straight.actor_critic)
    first = straight.update(batch)
    made = 0

    def between_steps() -> None:
        nonlocal made
        made += 1
        if made == stop_after:
            save_state(tmp_path / "state", broken.state_dict())
            raise Stop

    with pytest.raises(Stop):
        broken.update(batch, between_steps)
    resumed.load_state_dict(load_state(tmp_path / "state"))
    assert resumed.unfinished is not None
    # the critic takes single steps
    assert resumed.unfinished.chosen.shape == (
        int(batch.chosen.sum()),
        1,
    )
    assert resumed.update(resumed.unfinished) == first
    assert resumed.unfinished is None
    for _ in range(2):
        for x, y in ((one.actor_critic.state_dict().values() for one in (straight, resumed)),):
            assert all(torch.equal(a, b) for a, b in zip(x, y, strict=True))
        again = samples(straight.actor_critic, seed=8)
        assert resumed.update(again) == straight.update(again)


def test_a_step_to_weights_that_overflow_is_taken_back() -> None:
    both = actor_critic("Gaussian")
    made, batch = algorithm(both), samples(both)
    made.step = FixedRate(1e37)
    before = flat(both.parameters())
    with pytest.raises(Diverged, match="natural_rate"):
        made.update(batch)
    assert torch.equal(flat(both.parameters()), before)


def test_a_gradient_that_is_no_number_leaves_everything_as_it_was() -> None:
    both = actor_critic("Gaussian")
    made, batch = algorithm(both), samples(both)
    reward = batch.reward.clone()
    reward[batch.chosen.nonzero(as_tuple=True)[0][0], batch.chosen.nonzero(as_tuple=True)[1][0]] = (
        math.inf
    )
    before = flat(both.parameters())
    with pytest.raises(UserError, match="training cannot go on"):
        made.update(batch.replace(reward=reward))
    assert torch.equal(flat(both.parameters()), before)
    assert made.unfinished is None
    with pytest.raises(UserError, match="disagree"):
        made.update(batch.replace(logp=batch.logp + 1))  # pyright: ignore[reportOptionalOperand]


def test_a_learner_of_the_policy_too_is_refused() -> None:
    both = actor_critic("one choice")
    with pytest.raises(ValueError, match=r"actor_critic\.critic"):
        NaturalGradient(both, learner(both), Stopwatch(), generator=seeded(0))


@pytest.mark.parametrize("ends", [True, False])
def test_a_cut_episode_goes_on_being_worth_something_and_an_ended_one_does_not(ends: bool) -> None:
    """V = 1/(1−γ) in all places where each round is only cut; (1 − γ^(10−k))/(1−γ) where it ends
    after the tenth place.
    """
    world = Circle(16, ends=ends)
    both = ActorCritic(world.observation, world.action, generator=seeded(0), widths=(32,))
    fit = Learner(
        both.critic,
        Schedule(3e-2, 40 * 20, shape="cosine", final=0.01),
        optimizer=adamw(weight_decay=0.0),
        clip=0.0,
    )
    settings = TRPO.replace(gamma=0.9, updates_per_step=20, epochs=5)
    made = NaturalGradient(both, fit, Stopwatch(), settings, generator=seeded(1))
    episodes = Episodes(world, both, Stopwatch(), steps=22, seed=0)
    for _ in range(40):
        made.update(next(episodes))
    left = torch.arange(10, 0, -1) if ends else torch.full((10,), math.inf)
    with torch.no_grad():
        value = both.value(torch.arange(10)[None])[0]
    torch.testing.assert_close(value, (1 - 0.9**left) / (1 - 0.9), rtol=0, atol=0.05)
