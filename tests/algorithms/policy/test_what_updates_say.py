"""What updates say of themselves and start from: figures, defaults and states beside the gradients
that other tests hold.
"""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch

from fledge.algorithms.likelihood.imitation import DAgger
from fledge.algorithms.policy.actor_critic import AdvantageActorCritic
from fledge.algorithms.policy.grpo import GRPO
from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.models.control.actor_critic import ActorCritic
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.world import Choices
from tests.algorithms.enumeration import Enumeration
from tests.algorithms.heads import actor_critic, samples
from tests.every_algorithm import policy
from tests.subjects import Gradients, learner, rollouts, seeded, speak, transformer


def test_grpo_without_a_penalty_tells_the_kl_by_the_first_row_of_each_group() -> None:
    actor, reference = policy(), policy(5).frozen_copy()
    batch = rollouts(actor)[torch.randperm(16, generator=seeded(3))]
    assert batch.group is not None
    groups = batch.group.tolist()
    first = [groups.index(group) for group in sorted(set(groups))]
    assert first != sorted(first)
    fit = learner(actor)
    Gradients(fit)
    figures = GRPO(actor, fit, Stopwatch(), reference=reference).update(batch)
    with torch.no_grad():
        apart = actor.log_prob(batch.obs, batch.action) - reference.log_prob(
            batch.obs, batch.action
        )
    gap = torch.where(batch.chosen, apart, 0.0).sum(1)[first]
    assert figures["kl_k1"] == pytest.approx(float(gap.mean()))
    assert abs(figures["kl_k1"]) > 0.1
    without = GRPO(actor, fit, Stopwatch()).update(batch)
    assert without["kl_k1"] == 0


def test_a2c_tells_the_entropy_of_what_was_done() -> None:
    both = actor_critic("one choice")
    batch = samples(both)
    figures = AdvantageActorCritic(both, learner(both), Stopwatch()).weigh(batch)[1]
    with torch.no_grad():
        logp = both.log_prob(batch.obs, batch.action)
    assert figures["entropy"] == pytest.approx(-float(logp[batch.chosen].mean()))
    assert figures["entropy"] > 0


def test_a2c_goes_on_from_its_state() -> None:
    twins = [actor_critic("one choice") for _ in range(2)]
    batch = samples(twins[0])
    straight, resumed = (AdvantageActorCritic(both, learner(both), Stopwatch()) for both in twins)
    straight.update(batch)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    assert resumed.learner.steps == 1
    assert resumed.update(batch) == straight.update(batch)
    pairs = zip(twins[0].parameters(), twins[1].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_ppo_holds_the_value_near_what_it_was_and_not_the_target() -> None:
    """½ max((V − R̂)², (V₀ ± 0.2 − R̂)²), V₀ a step away from V on both sides (Huang et al. 2022,
    detail 9).
    """
    both = actor_critic("one choice")
    batch = samples(both)
    settings = PPO.Settings(value_clip=0.2, whiten_advantage=False)
    ppo = PPO(both, learner(both), Stopwatch(), settings, generator=seeded(0))
    judged = ppo.weigh(*ppo.score(batch))[0]
    value, target = judged.old_value, judged.target
    moved = value + torch.linspace(-1.0, 1.0, value.numel()).view_as(value)
    held = moved + (value - moved).clamp(-0.2, 0.2)
    error = torch.maximum((value - target) ** 2, (held - target) ** 2)
    figures = ppo.fit(judged.replace(old_value=moved))
    assert figures["value_loss"] == pytest.approx(0.5 * float(error[batch.chosen].mean()))
    assert not torch.equal(error[batch.chosen], ((value - target) ** 2)[batch.chosen])


def test_the_optimal_baseline_of_steps_that_are_nearly_certain() -> None:
    """‖g‖² of all others together below 1: still their weighted mean, Σ‖g‖²r / Σ‖g‖²."""
    subject = Enumeration(
        partial(Reinforce, settings=Reinforce.Settings(baseline="optimal")), 2, 1, None
    )
    size = [float(subject.pull(row).square().sum()) for row in torch.eye(2).double()]
    words = [0, 1, 1]
    others = [[j for j in range(3) if j != i] for i in range(3)]
    weights = [[size[words[j]] for j in each] for each in others]
    assert min(sum(each) / 2 for each in weights) < 1
    batch = speak(
        subject.language,
        words,
        3,
        subject.reward,
        subject.step_logp,
        torch.zeros(3, dtype=torch.long),
    )
    weight = subject.algorithm.weigh(batch, batch.reward).weight
    reward = [float(subject.reward[i]) for i in words]
    for row in range(3):
        paid = sum(w * reward[j] for w, j in zip(weights[row], others[row], strict=True))
        best = paid / sum(weights[row])
        assert weight[row][batch.chosen[row]].tolist() == pytest.approx([reward[row] - best])


def test_where_only_one_action_is_allowed_the_optimal_baseline_is_the_mean_of_the_others() -> None:
    """‖g‖² is 0 everywhere, and nothing can be weighted by it."""
    actor = TokenPolicy(transformer(dtype=torch.float64), allowed=torch.arange(11) == 3)
    obs, no = torch.full((3, 3), 3), torch.zeros(3, 2, dtype=torch.bool)
    ends = torch.tensor([[False, True]] * 3)
    reward = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 6.0]]).double()
    group = torch.zeros(3, dtype=torch.long)
    batch = Trajectories(obs, obs[:, 1:], ~no, reward, ends, no, group=group)
    made = Reinforce(
        actor, learner(actor), Stopwatch(), settings=Reinforce.Settings(baseline="optimal")
    )
    weight = made.weigh(batch, reward).weight
    assert weight is not None
    assert weight.tolist() == [[1 - 4] * 2, [2 - 3.5] * 2, [6 - 1.5] * 2]


class Nought:
    """An expert that chooses 0 twice, whatever it sees."""

    def best(self, obs: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(obs), 2, dtype=torch.long)


def test_a_step_of_two_choices_is_one_disagreement_if_either_is_wrong() -> None:
    actor = torch.nn.Linear(2, 5, bias=False)  # of 2 and of 3 choices
    with torch.no_grad():
        actor.weight.zero_()
        actor.weight[0] = 1  # the first: always 0
        actor.weight[3, 0] = actor.weight[2, 1] = 1  # the second: 1 where 0 is seen, else 0
    both = ActorCritic(Choices((2,)), Choices((2, 3)), generator=seeded(0), actor=actor)
    made = DAgger(both, Nought(), learner(both), Stopwatch(), generator=seeded(0))
    obs, no = torch.tensor([[0, 1, 1, 1, 1]]), torch.zeros(1, 4, dtype=torch.bool)
    done = torch.zeros(1, 4, 2, dtype=torch.long)
    batch = Trajectories(obs, done, ~no, torch.zeros(1, 4), no, no)
    assert made.label(batch)["disagreement"] == pytest.approx(1 / 4)
