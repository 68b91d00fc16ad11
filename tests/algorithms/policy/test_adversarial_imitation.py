"""GAIL and AIRL: the discriminator's optimum in closed form, AIRL's reward against soft dynamic
programming, one gradient however it is cut, a stop in the middle.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.policy.adversarial_imitation import (
    AIRL,
    GAIL,
    AdversarialImitation,
    Attributed,
)
from fledge.errors import UserError
from fledge.models.control.actor_critic import ActorCritic, Encoder
from fledge.models.control.discriminator import PlainDiscriminator, RewardDiscriminator
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.world import Choices
from tests.algorithms.counted_worlds import Road
from tests.subjects import Gradients, learner, seeded

STATES, ACTIONS, GAMMA = 5, 2, 0.9
# Deterministic, and every two states share what comes after by way of others: what Fu et al.'s
# theorem 5.1 asks of a world in which reward and shaping can be told apart.
AFTER = torch.tensor([[1, 2], [2, 3], [3, 4], [4, 0], [0, 1]])
REWARD = torch.tensor([0.3, -1.0, 0.7, 0.0, 1.5], dtype=torch.float64)


def solve_softly(reward: Tensor) -> tuple[Tensor, Tensor]:
    """V and A of the entropy-regularised world, r(s) + γ ln Σ e^Q: [S], [S, A]."""
    value = torch.zeros(STATES, dtype=torch.float64)
    for _ in range(600):
        q = reward[:, None] + GAMMA * value[AFTER]
        value = q.logsumexp(-1)
    return value, reward[:, None] + GAMMA * value[AFTER] - value[:, None]


class Table(Encoder):
    """Places as float64, for an optimum to many digits."""

    def forward(self, obs: Tensor) -> Tensor:
        return super().forward(obs).double()


def every_step() -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of a state and an action, and where they lead."""
    state = torch.arange(STATES).repeat_interleave(ACTIONS)
    action = torch.arange(ACTIONS).repeat(STATES)
    return state, action, AFTER.flatten()


def test_the_reward_of_airl_is_the_true_one_up_to_a_constant_and_its_shaping_is_the_value() -> None:
    """The expert is the soft optimum; the policy does as it does, so that D can tell nothing, which
    is where it is fitted to the end by the exact gradient over all steps (convex in a table).
    """
    value, advantage = solve_softly(REWARD)
    made = RewardDiscriminator(
        Table(Choices((STATES,)), normalise=False),
        Choices((ACTIONS,)),
        generator=seeded(1),
        widths=(),
        gamma=GAMMA,
        state_only=True,
    ).double()
    obs, action, after = every_step()
    logp = advantage.flatten()
    weight = logp.exp() / STATES  # of the expert's steps and of the policy's
    never = torch.zeros(len(obs), dtype=torch.bool)
    parameters = list(made.parameters())
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=400, tolerance_grad=1e-14, tolerance_change=1e-18,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def close() -> Tensor:
        optimizer.zero_grad()
        logit = made.logit(obs, action, after, never, logp)
        nats = torch.nn.functional.softplus(-logit) + torch.nn.functional.softplus(logit)
        loss = (weight * nats).sum() / 2
        loss.backward()
        return loss

    optimizer.step(close)
    assert float(close().detach()) == pytest.approx(math.log(2), abs=1e-9)
    with torch.no_grad():
        everywhere = torch.arange(STATES)
        g = made.learned_reward(everywhere, torch.zeros_like(everywhere))
        h = made.h(made.encoder(everywhere))[:, 0]
    torch.testing.assert_close(g - g.mean(), REWARD - REWARD.mean(), rtol=0, atol=1e-4)
    torch.testing.assert_close(h - h.mean(), value - value.mean(), rtol=0, atol=1e-4)


def road(copies: int = 4, steps: int = 6) -> Episodes:
    return Episodes(Road(copies, steps), make_policy(), Stopwatch(), steps=steps, seed=3)


def make_policy() -> ActorCritic:
    return ActorCritic(
        Road(1, 1).observation, Road(1, 1).action, generator=seeded(0), widths=(8,)
    )  # fmt: skip


def expert_steps() -> Trajectories:
    """On the road always 0, in the ditch always 1."""
    obs = torch.tensor([[0, 0, 0, 1, 0]])
    no = torch.zeros(1, 4, dtype=torch.bool)
    return Trajectories(obs, obs[:, :-1], ~no, torch.zeros(1, 4), no, no)


def make(settings: AdversarialImitation.Settings, **learning: Any) -> AdversarialImitation:
    policy = make_policy()
    action = Road(1, 1).action
    discriminator = (
        PlainDiscriminator(policy.encoder, action, generator=seeded(2), widths=(8,))
        if settings.form == "gail"
        else RewardDiscriminator(
            policy.encoder, action, generator=seeded(2), widths=(8,), gamma=0.9, state_only=False
        )
    )
    return AdversarialImitation(
        policy, discriminator, expert_steps(), learner(policy, **learning),
        learner(discriminator, **learning), Stopwatch(), settings, generator=seeded(4),
    )  # fmt: skip


SMALL = {"updates_per_step": 2, "epochs": 1, "rows_per_discriminator_update": 16}


def test_the_optimum_of_gail_is_the_log_ratio_of_how_often_each_comes() -> None:
    """By a discriminator of a table: ln ρ_E − ln ρ_π, and the reward −ln(1 − D) of it."""
    made = make(GAIL.replace(**SMALL))
    theirs, ours = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 4.0])
    logit = (theirs / ours).log()
    share = theirs / (theirs + ours)
    torch.testing.assert_close(made.discriminator.reward(logit), -(1 - share).log())
    batch = next(road()).as_steps()
    for _ in range(300):
        made.discriminator_learner.step(*made.pose(made.draw(batch)))
    seen = list(zip(batch.obs[:, 0].tolist(), batch.action[:, 0].tolist(), strict=True))
    shown = {(0, 0): 3 / 4, (1, 1): 1 / 4}  # of the expert's steps
    for s, a in set(seen):
        place, done = torch.tensor([s]), torch.tensor([a])
        given = float(
            made.discriminator.logit(place, done, place, done > 9, torch.zeros(1)).detach()
        )
        if (s, a) in shown:
            exact = math.log(shown[s, a] / (seen.count((s, a)) / len(seen)))
            assert given == pytest.approx(exact, abs=0.5)
        else:
            assert given < -1


def test_the_absorbing_state_is_told_by_how_often_either_comes_there_and_earns_for_ever() -> None:
    """Of 4 steps of the expert's one terminates, of 4 of the policy's three: the logit there comes
    to ln(1/3), and a termination earns its γ/(1 − γ) beside what its own step does.
    """
    made = make(AIRL.replace(**{**SMALL, "gamma": 0.9}))
    steps = expert_steps().as_steps()
    ends = torch.tensor([[True], [False], [False], [False]])
    theirs, ours = steps.replace(terminated=ends), steps.replace(terminated=~ends)
    both = Attributed(
        **{
            name: torch.cat([getattr(part, name) for part in (theirs, ours)])
            for name in ("obs", "action", "chosen", "reward", "terminated", "truncated")
        },
        expert=torch.arange(8)[:, None] < 4,
    )
    loss, batch = made.pose(both)
    slope = lambda: torch.autograd.grad(loss(batch)[0], made.discriminator.end)[0]  # noqa: E731
    # 1 and 3 of the 12 steps there are: −σ(−x) / 12 + 3 σ(x) / 12, at x = 0 (of which
    # a number that is learned is a hundredth) and where it is 0.
    assert float(slope()) == pytest.approx(100 * (-0.5 + 3 * 0.5) / 12, abs=1e-5)
    with torch.no_grad():
        made.discriminator.end.fill_(math.atanh(math.log(1 / 3) / 5) / 20)
    assert float(slope()) == pytest.approx(0, abs=1e-5)
    plain = make(AIRL.replace(**{**SMALL, "gamma": 0.9}, absorbing=False))
    plain.discriminator.load_state_dict(made.discriminator.state_dict())
    more = made.reward(ours) - plain.reward(ours)
    expected = torch.where(ours.terminated, 9 * math.log(1 / 3), 0.0)
    torch.testing.assert_close(more, expected, rtol=1e-5, atol=1e-5)


def test_what_is_earned_for_ever_has_no_sum_without_a_discount() -> None:
    with pytest.raises(UserError, match="absorbing=true, which airl has by default"):
        make(AIRL.replace(**{**SMALL, "gamma": 1.0}))


@pytest.mark.parametrize("settings", [GAIL, AIRL], ids=["gail", "airl"])
def test_one_gradient_of_both_networks_however_the_rows_are_cut(
    settings: AdversarialImitation.Settings,
) -> None:
    each = []
    for micro in (None, 3):
        made = make(settings.replace(**SMALL), rows_per_micro_batch=micro)
        laid_open = [Gradients(made.discriminator_learner), Gradients(made.ppo.learner)]
        figures = made.update(next(road()))
        each.append(([one.flat for one in laid_open], figures))
    for whole, cut in zip(each[0][0], each[1][0], strict=True):
        assert float(whole.abs().max()) > 1e-5
        torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-6)
    assert each[1][1] == pytest.approx(each[0][1], rel=1e-4, abs=1e-6)


def test_what_the_world_pays_is_not_looked_at() -> None:
    figures = []
    for pays in (0.0, 100.0):
        batch = next(road())
        figures.append(
            make(AIRL.replace(**SMALL)).update(batch.replace(reward=batch.reward + pays))
        )
    assert figures[0] == figures[1]


@pytest.mark.parametrize("settings", [GAIL, AIRL], ids=["gail", "airl"])
def test_a_run_stopped_between_two_optimizer_steps_goes_on_as_if_it_had_not(
    settings: AdversarialImitation.Settings, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        save_state(tmp_path / "state", made.state_dict())
        raise Stop

    batches = [next(sampler) for sampler in [road()] for _ in range(2)]
    whole = make(settings.replace(**SMALL))
    wanted = [whole.update(batch) for batch in batches]
    made = make(settings.replace(**SMALL))
    with pytest.raises(Stop):
        made.update(batches[0], stop)
    again = make(settings.replace(**SMALL))
    again.load_state_dict(load_state(tmp_path / "state"))
    assert again.unfinished is not None
    assert [again.update(batch) for batch in batches] == wanted
    for one, other in zip(
        [*whole.policy.parameters(), *whole.discriminator.parameters()],
        [*again.policy.parameters(), *again.discriminator.parameters()],
        strict=True,
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("settings", [GAIL, AIRL], ids=["gail", "airl"])
def test_it_comes_to_do_as_the_expert_does(settings: AdversarialImitation.Settings) -> None:
    """Who walks by chance is in the ditch half of the time; the expert never is."""
    made = make(
        settings.replace(updates_per_step=4, epochs=4, rows_per_discriminator_update=64), rate=2e-2
    )
    episodes = Episodes(Road(16, 12), made.policy, Stopwatch(), steps=24, seed=3)
    for _ in range(25):
        made.update(next(episodes))
    with torch.no_grad():
        both = made.policy.log_prob(torch.tensor([[0, 1, 0]]), torch.tensor([[0, 1]])).exp()
    assert float(both[0, 0]) > 0.8
    assert float(both[0, 1]) > 0.55  # half at first, and seldom asked for later on
