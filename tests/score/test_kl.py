"""The step-by-step KL, averaged over all sequences there are, is the KL of the two distributions
over sequences.
"""

from __future__ import annotations

import pytest
import torch

from fledge.exact.enumerable import Language, kl
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.score.kl import stepwise_kl
from tests.subjects import TableNetwork, policy_of, rollouts, speak, transformer


@pytest.mark.parametrize("stop", [None, 0])
def test_its_mean_over_everything_is_the_exact_kl(stop: int | None) -> None:
    language = Language(3, 3, stop)
    networks = [TableNetwork(3, 3, seed=seed) for seed in (1, 2)]
    logp, other = (language.log_prob(network.logits(language)).detach() for network in networks)
    rows = speak(
        language, range(len(language.sequences)), 3, torch.zeros(len(logp), dtype=torch.float64)
    )
    each = stepwise_kl(TokenPolicy(networks[0], chunk=5), TokenPolicy(networks[1]), rows)
    torch.testing.assert_close((logp.exp() * each).sum(), kl(logp, other), rtol=1e-12, atol=1e-12)
    assert kl(logp, other) > 0.1


def test_under_a_rule_it_is_that_of_the_sampled_distribution() -> None:
    policy, reference = policy_of(transformer(0)), policy_of(transformer(5))
    batch = rollouts(policy)
    for rule in (Decoding(temperature=0.5), Decoding(temperature=2.0)):
        each = stepwise_kl(policy.with_rule(rule), reference.with_rule(rule), batch)
        p, q = (
            (x.network(batch.obs[:, :-1]) @ x.network.unembedding.T)[..., 2:]
            .div(rule.temperature)
            .softmax(-1)
            .double()
            for x in (policy, reference)
        )
        expected = torch.where(batch.chosen, (p * (p / q).log()).sum(-1), 0.0).sum(1)
        torch.testing.assert_close(each.double(), expected, rtol=1e-4, atol=1e-5)


def test_a_policy_is_at_no_distance_from_itself() -> None:
    policy = policy_of(transformer(0))
    assert float(stepwise_kl(policy, policy.frozen_copy(), rollouts(policy)).abs().max()) == 0.0
