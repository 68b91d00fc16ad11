"""A policy's log-probabilities are those of its decoding rule, at the steps that are asked for, and
of nothing that comes later.
"""

from __future__ import annotations

import pytest
import torch

from fledge.critics import SeparateCritic, SharedCritic
from fledge.log_prob import Decoding
from fledge.models.language.heads import ScalarHead, ScalarModel
from tests.subjects import policy_of, rollouts, seeded, transformer


def test_log_probabilities_and_entropies_equal_those_of_the_whole_softmax() -> None:
    policy = policy_of(transformer(dtype=torch.float64), chunk=5)
    batch = rollouts(policy)
    logits = policy.network(batch.obs[:, :-1]) @ policy.network.unembedding.T  # [B, T, V]
    logits[..., :2] = -torch.inf
    logp = logits.log_softmax(-1)
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    here = logp.gather(-1, batch.action[..., None])[..., 0]
    evaluated, spread = policy.evaluate(batch.obs, batch.action, batch.chosen, entropy=True)
    torch.testing.assert_close(evaluated, torch.where(batch.chosen, here, 0.0))
    torch.testing.assert_close(spread, torch.where(batch.chosen, entropy, 0.0))
    everywhere = policy.log_prob(batch.obs, batch.action)
    torch.testing.assert_close(everywhere[batch.chosen], here[batch.chosen])


@pytest.mark.parametrize("everywhere", [False, True])
def test_entropies_are_zeros_unless_they_are_asked_for(everywhere: bool) -> None:
    policy = policy_of(transformer())
    batch = rollouts(policy)
    chosen = None if everywhere else batch.chosen
    spread = policy.evaluate(batch.obs, batch.action, chosen)[1]
    assert torch.equal(spread, torch.zeros(batch.action.shape))
    assert policy.evaluate(batch.obs, batch.action, chosen, entropy=True)[1].max() > 0.1


@pytest.mark.parametrize("chunk", [1, 3, 64, 10_000])
def test_the_size_of_a_chunk_changes_nothing(chunk: int) -> None:
    policy = policy_of(transformer(dtype=torch.float64))
    batch = rollouts(policy)
    policy.chunk = chunk
    torch.testing.assert_close(
        policy.log_prob(batch.obs, batch.action, batch.chosen), batch.logp, rtol=1e-12, atol=1e-12
    )


def test_tokens_that_are_no_actions_have_no_probability() -> None:
    policy = policy_of(transformer())
    obs = torch.randint(2, 11, (4, 6), generator=seeded(0))
    obs[:, 3] = 1
    logp = policy.log_prob(obs, obs[:, 1:])
    assert (logp[:, 2] == -torch.inf).all()
    assert torch.isfinite(logp[:, [0, 1, 3, 4]]).all()
    probabilities = policy.logits(policy.network(obs[:, :1])[:, 0]).softmax(-1)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(4))
    assert not probabilities[:, :2].any()


def test_logits_for_sampling_and_log_probabilities_for_training_are_one_distribution() -> None:
    rule = Decoding(temperature=0.7, top_k=6, top_p=0.9)
    policy = policy_of(transformer(dtype=torch.float64), rule=rule)
    obs = torch.randint(2, 11, (20, 2), generator=seeded(1))
    logp = policy.logits(policy.network(obs[:, :1])[:, 0]).log_softmax(-1)
    action = logp.argmax(-1)
    torch.testing.assert_close(
        policy.log_prob(torch.stack([obs[:, 0], action], 1), action[:, None])[:, 0], logp.amax(-1)
    )


def test_what_follows_a_step_has_no_part_in_its_log_probability() -> None:
    policy = policy_of(transformer())
    batch = rollouts(policy)
    other = batch.obs.clone()
    other[:, 8:] = torch.randint(2, 11, other[:, 8:].shape, generator=seeded(3))
    logp = policy.log_prob(batch.obs, batch.action, batch.chosen)
    assert torch.equal(policy.log_prob(other, other[:, 1:], batch.chosen)[:, :7], logp[:, :7])


def test_a_frozen_copy_stays_when_the_policy_moves() -> None:
    policy = policy_of(transformer())
    batch = rollouts(policy)
    copy = policy.frozen_copy()
    before = copy.log_prob(batch.obs, batch.action, batch.chosen)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.1
    assert torch.equal(copy.log_prob(batch.obs, batch.action, batch.chosen), before)
    assert not torch.equal(policy.log_prob(batch.obs, batch.action, batch.chosen), before)
    assert not any(parameter.requires_grad for parameter in copy.parameters())


def test_a_frozen_copy_speaks_under_the_rule_of_the_policy() -> None:
    """At temperature ½ a policy is at no distance from its reference."""
    policy = policy_of(transformer(), rule=Decoding(0.5, top_k=4))
    batch = rollouts(policy)
    copy = policy.frozen_copy()
    assert copy.rule == policy.rule
    asked = (batch.obs, batch.action, batch.chosen)
    assert torch.equal(copy.log_prob(*asked), policy.log_prob(*asked))
    assert not torch.allclose(
        copy.with_rule(Decoding(1.0, top_k=4)).log_prob(*asked), policy.log_prob(*asked)
    )


def test_another_rule_shares_the_network() -> None:
    policy = policy_of(transformer())
    other = policy.with_rule(Decoding(temperature=0.5))
    assert other.network is policy.network
    assert other.rule.temperature == 0.5
    assert policy.rule.temperature == 1


@pytest.mark.parametrize("shared", [True, False])
def test_actor_and_critic_answer_like_policy_and_value_asked_alone(shared: bool) -> None:
    policy = policy_of(transformer(dtype=torch.float64))
    critic = ScalarModel(transformer(4, dtype=torch.float64), bias=True).double()
    head = ScalarHead(16).double()
    torch.nn.init.normal_(head.linear.weight, generator=seeded(0))
    torch.nn.init.normal_(critic.head.linear.weight, generator=seeded(1))
    both = SharedCritic(policy, head) if shared else SeparateCritic(policy, critic)
    batch = rollouts(policy)
    logp, entropy, value = both.evaluate(batch.obs, batch.action, batch.chosen, entropy=True)
    alone = policy.evaluate(batch.obs, batch.action, batch.chosen, entropy=True)
    torch.testing.assert_close((logp, entropy), alone)
    expected = head(policy.network(batch.obs)) if shared else critic(batch.obs)
    # one more than actions: a truncated row's last observation has a value
    assert value.shape == batch.obs.shape
    torch.testing.assert_close(value, expected)
