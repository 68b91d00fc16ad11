"""Actor–critic and PPO on worlds: what their critics come to believe, and that steps cut into
pieces are the same step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fledge.algorithms.parts.fisher_vector_product import policy_parameters
from fledge.algorithms.parts.judged import Judged
from fledge.algorithms.policy.actor_critic import AdvantageActorCritic
from fledge.algorithms.policy.natural_gradient import NaturalGradient
from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.fit import nll, total
from fledge.learner import Learner, Schedule
from fledge.models.control.actor_critic import ActorCritic
from fledge.optimizers import adamw
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories, Weighed
from fledge.worlds.make import make_world
from tests.algorithms.counted_worlds import Circle
from tests.algorithms.heads import ACTIONS, actor_critic, distribution, samples
from tests.algorithms.policy.test_natural_gradient import gae_by_sums
from tests.subjects import Gradients, learner, seeded

GAMMA = 0.8
Make = Callable[[ActorCritic, Learner], Any]
MAKES: dict[str, Make] = {
    "actor-critic": lambda policy, learner: AdvantageActorCritic(
        policy, learner, Stopwatch(), AdvantageActorCritic.Settings(gamma=GAMMA, gae_lambda=0.5)
    ),
    "ppo": lambda policy, learner: PPO(
        policy, learner, Stopwatch(),
        PPO.InWorlds(gamma=GAMMA, gae_lambda=0.5, value_clip=None, updates_per_step=4),
        generator=torch.Generator().manual_seed(0),
    ),
    "reinforce with a critic": lambda policy, learner: Reinforce(
        policy, learner, Stopwatch(), Reinforce.Settings(baseline="value", gamma=GAMMA),
        actor_critic=policy,
    ),
}  # fmt: skip


def made(name: str, world: Any, rate: float, **settings: Any) -> tuple[ActorCritic, Any]:
    policy = ActorCritic(
        world.observation, world.action, generator=torch.Generator().manual_seed(0), widths=(32,)
    )
    fit = Learner(
        policy,
        Schedule(rate, 10_000),
        optimizer=adamw(betas=(0.9, 0.999), weight_decay=0.0),
        clip=0.0,
        **settings,
    )
    return policy, MAKES[name](policy, fit)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("name", MAKES)
def test_a_cut_episode_goes_on_being_worth_something_and_an_ended_one_does_not(
    name: str, ends: bool
) -> None:
    """Ten places, reward 1 a step: cut after a round, every place is worth 1/(1−γ); ended, place i
    is worth (1 − γ^{10−i})/(1−γ).
    """
    world = Circle(4, ends=ends)
    policy, algorithm = made(name, world, 1e-2)
    sampler = Episodes(world, policy, Stopwatch(), steps=22, seed=0)
    for step in range(300):
        if step == 200:
            algorithm.learner.schedule = Schedule(1e-3, 10_000)
        algorithm.update(next(sampler))
    learnt = policy.value(torch.arange(10)[None])[0].double()
    exact = torch.full((10,), 1 / (1 - GAMMA), dtype=torch.float64)
    if ends:
        exact = (1 - GAMMA ** (10 - torch.arange(10).double())) / (1 - GAMMA)
    assert float((learnt - exact).detach().abs().max()) < 0.05 * 1 / (1 - GAMMA)


@pytest.mark.parametrize("name", MAKES)
def test_the_step_is_the_same_in_pieces_and_whatever_stands_where_nothing_was_chosen(
    name: str,
) -> None:
    world = make_world("CartPole-v1", 4)
    base = ActorCritic(
        world.observation, world.action, generator=torch.Generator().manual_seed(0), widths=(32,)
    )
    sampler = Episodes(world, base, Stopwatch(), steps=60, seed=0)
    batch = next(sampler)
    assert not batch.chosen.all()  # some episodes ended
    weights = []
    for rows, garbage in ((None, 0.0), (7, 0.0), (None, 1e9)):
        policy, algorithm = made(name, world, 1e-3, rows_per_micro_batch=rows)
        policy.load_state_dict(base.state_dict())
        soiled = batch.replace(reward=torch.where(batch.chosen, batch.reward, garbage))
        algorithm.update(soiled)
        weights.append(torch.cat([p.detach().flatten() for p in policy.parameters()]))
    torch.testing.assert_close(weights[1], weights[0], atol=1e-6, rtol=1e-5)
    assert torch.equal(weights[2], weights[0])


def test_the_gradient_is_that_of_the_formula_written_down_step_by_step() -> None:
    """One update of the actor with a critic that does not learn: −mean over steps of Â·∇log π, by a
    loop over rows and times.
    """
    world = make_world("CartPole-v1", 3)
    policy, algorithm = made("actor-critic", world, 1e-3)
    algorithm.value_coefficient = 0.0
    batch = next(Episodes(world, policy, Stopwatch(), steps=40, seed=1))
    twin = copy.deepcopy(policy)
    with torch.no_grad():
        value = twin.value(batch.obs)
        advantage = gae_by_sums(batch, value, GAMMA, 0.5)
    terms = [
        -advantage[i, t]
        * twin.log_prob(batch.obs[i : i + 1, t : t + 2], batch.action[i : i + 1, t : t + 1]).sum()
        for i, t in batch.chosen.nonzero().tolist()
    ]
    (torch.stack(terms).sum() / len(terms)).backward()
    wanted = [p.grad for p in twin.actor.parameters()]
    seen: list[torch.Tensor] = []
    algorithm.learner.optimizer.register_step_pre_hook(
        lambda *_: seen.extend(
            p.grad.clone() for p in policy.actor.parameters() if p.grad is not None
        )
    )
    algorithm.update(batch)
    for a, b in zip(seen, wanted, strict=True):
        assert b is not None
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_samples_of_an_older_policy_count_by_their_truncated_ratio() -> None:
    world = make_world("CartPole-v1", 3)
    policy, _ = made("actor-critic", world, 1e-3)
    batch = next(Episodes(world, policy, Stopwatch(), steps=20, seed=1))
    assert batch.logp is not None
    older = batch.replace(logp=batch.logp - torch.where(torch.arange(20) % 2 == 0, 0.5, -0.5))
    weights = {}
    for name, rows, cut in (("own", batch, None), ("older", older, 1.2)):
        algorithm = AdvantageActorCritic(
            policy,
            Learner(policy, Schedule(1e-3, 10)),
            Stopwatch(),
            settings=AdvantageActorCritic.Settings(gamma=GAMMA, truncate_at=cut),
        )
        weights[name] = algorithm.weigh(rows)[0].weight
    # e^0.5 is cut to 1.2
    ratio = torch.where(torch.arange(20) % 2 == 0, 1.2, torch.tensor(-0.5).exp())
    torch.testing.assert_close(
        weights["older"], weights["own"] * torch.where(batch.chosen, ratio, 1.0)
    )


def test_a_batch_of_steps_is_the_batch_of_rows() -> None:
    """`as_steps` loses nothing that counts: the mean loss over single steps is that over the
    rows.
    """
    world = make_world("CartPole-v1", 3)
    policy, _ = made("ppo", world, 1e-3)
    batch = next(Episodes(world, policy, Stopwatch(), steps=50, seed=2))
    steps = batch.as_steps()
    assert len(steps) == int(batch.chosen.sum())
    losses = [
        total(nll(policy.log_prob(rows.obs, rows.action)), rows.chosen, rows.chosen.sum())
        for rows in (batch, steps)
    ]
    torch.testing.assert_close(losses[0], losses[1])
    assert torch.equal(steps.obs[:, 1], batch.obs[:, 1:][batch.chosen])  # what came of each step


@pytest.mark.parametrize("name", ACTIONS)
def test_the_entropy_bonus_raises_the_entropy(name: str) -> None:
    """Two updates, with and without: the gradients differ by −c times that of the mean entropy,
    which torch's distributions say.
    """
    slopes = []
    for coefficient in (0.0, 0.3):
        both = actor_critic(name)
        fit = learner(both)
        gradients = Gradients(fit)
        AdvantageActorCritic(
            both,
            fit,
            Stopwatch(),
            settings=AdvantageActorCritic.Settings(entropy_coefficient=coefficient),
        ).update(samples(both))
        slopes.append(gradients.taken[0])
    both = actor_critic(name)
    own, batch = policy_parameters(both), samples(both)
    encoded = both.encoder(batch.obs[:, :-1][batch.chosen])
    spread = sum(each.entropy() for each in distribution(name, both.numbers(encoded)))
    mean = spread.mean()  # pyright: ignore[reportAttributeAccessIssue]
    wanted = torch.autograd.grad(-0.3 * mean, own)
    trained = [id(parameter) for parameter in learner(both).parameters]
    bonus = {number: after - before for number, before, after in zip(trained, *slopes, strict=True)}
    for parameter, gradient in zip(own, wanted, strict=True):
        torch.testing.assert_close(bonus[id(parameter)], gradient, rtol=1e-9, atol=1e-12)


def test_reinforce_with_a_critic_weighs_by_the_return_less_the_value() -> None:
    """The whole return, no λ: Σ γ^k r to the end of the episode, and the critic only where time cut
    it off.
    """
    both = actor_critic("one choice")
    batch = samples(both)
    algorithm = Reinforce(
        both,
        learner(both),
        Stopwatch(),
        settings=Reinforce.Settings(baseline="value", gamma=GAMMA),
        actor_critic=both,
    )
    weighed = algorithm.weigh(batch, batch.reward)
    with torch.no_grad():
        value = both.value(batch.obs)
    wanted = gae_by_sums(batch, value, GAMMA, 1.0)
    assert not torch.allclose(wanted, gae_by_sums(batch, value, GAMMA, 0.95))
    torch.testing.assert_close(weighed.weight, wanted)


def by_a2c(both: ActorCritic, batch: Trajectories) -> Judged:
    return AdvantageActorCritic(
        both, learner(both), Stopwatch(), settings=AdvantageActorCritic.Settings(gamma=1.0)
    ).weigh(batch)[0]


def by_ppo(both: ActorCritic, batch: Trajectories) -> Judged:
    settings = PPO.Settings(gae_lambda=1.0, whiten_advantage=False)
    made = PPO(both, learner(both), Stopwatch(), settings, generator=seeded(0))
    return made.weigh(*made.score(batch))[0]


def by_natural(both: ActorCritic, batch: Trajectories) -> Judged:
    settings = NaturalGradient.Settings(gamma=1.0, gae_lambda=1.0, whiten_advantage=False)
    return NaturalGradient(
        both, learner(both.critic), Stopwatch(), settings, generator=seeded(0)
    ).weigh(batch)[0]


def by_reinforce(both: ActorCritic, batch: Trajectories) -> Weighed:
    made = Reinforce(
        both,
        learner(both),
        Stopwatch(),
        settings=Reinforce.Settings(baseline="value"),
        actor_critic=both,
    )
    return made.weigh(batch, batch.reward)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
@pytest.mark.parametrize("weigh", [by_a2c, by_ppo, by_natural, by_reinforce])
def test_credit_ends_with_the_episode_and_a_cut_is_worth_what_the_critic_says_of_its_end(
    weigh: Callable[[ActorCritic, Trajectories], Weighed], end: str
) -> None:
    """Rewards 1, 2, then a step that only begins anew, then 4; γ = λ = 1, by hand."""
    both, no = actor_critic("one choice"), torch.zeros(1, 4, dtype=torch.bool)
    ends = {"terminated": no, "truncated": no} | {end: torch.tensor([[False, True, False, True]])}
    chosen = torch.tensor([[True, True, False, True]])
    reward = torch.tensor([[1.0, 2.0, 0.0, 4.0]]).double()
    obs = torch.randn(1, 5, 3, dtype=torch.float64, generator=seeded(7))
    weighed = weigh(both, Trajectories(obs, no.long(), chosen, reward, **ends))
    assert isinstance(weighed, Judged)
    v = both.value(obs)[0].tolist()
    assert len({round(x, 2) for x in v}) == 5
    first, second = (v[2], v[4]) if end == "truncated" else (0.0, 0.0)
    target = torch.tensor([[1 + 2 + first, 2 + first, 0.0, 4 + second]]).double()
    torch.testing.assert_close(weighed.target, target.float().double(), rtol=1e-6, atol=1e-6)
    wanted = torch.where(chosen, target - torch.tensor([v[:4]]).double(), 0.0)
    torch.testing.assert_close(weighed.weight, wanted, rtol=1e-6, atol=1e-6)
