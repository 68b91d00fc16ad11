"""A model that looks its distributions up in the engine and under every rule of decoding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from fledge.algorithms.likelihood.smoothing import kneser_ney
from fledge.engine.beam import beam_search
from fledge.engine.engine import Engine
from fledge.log_prob import Decoding
from fledge.models.language.ngram_network import NgramConfig, NgramNetwork
from fledge.policy import TokenPolicy
from fledge.text.ngram_passes import count_ngrams
from tests.engine.test_slow_form import requests
from tests.subjects import seeded


@pytest.fixture(scope="module")
def policy() -> TokenPolicy:
    text = torch.randint(2, 11, (600,), generator=seeded(1)).numpy()
    text[::37] = 1
    allowed = torch.arange(11) >= 2
    counts = count_ngrams([text], 3, 11, 1)
    network = NgramNetwork(NgramConfig(11, context=64), border=1)
    network.become(kneser_ney(counts, allowed.numpy()))
    return TokenPolicy(network, allowed, chunk=5)


def test_the_engine_says_what_the_model_says(policy: TokenPolicy) -> None:
    for row in Engine(policy, slots=4).run(requests()):
        said = policy.network.model.log_prob(np.array(row.prompt + row.tokens))
        assert row.raw_logp == pytest.approx(said[len(row.prompt) :].tolist(), abs=1e-5)


def test_log_probabilities_under_a_rule_are_those_of_the_distribution(policy: TokenPolicy) -> None:
    rule = Decoding(temperature=0.7, top_k=4)
    tokens = torch.randint(2, 11, (3, 20), generator=seeded(2))
    chosen = torch.rand(3, 19, generator=seeded(3)) > 0.3
    logp, entropy = policy.with_rule(rule).evaluate(tokens, tokens[:, 1:], chosen, entropy=True)
    plain = policy.evaluate(tokens, tokens[:, 1:])[0]
    for i in range(3):
        for t in range(19):
            if not chosen[i, t]:
                assert (logp[i, t], entropy[i, t]) == (0, 0)
                continue
            full = policy.network.model.distribution([tokens[i, : t + 1].numpy()])[0]
            assert float(plain[i, t]) == pytest.approx(full[tokens[i, t + 1]], abs=1e-5)
            p = np.exp(full.astype(np.float64) / 0.7)
            kept = set(np.argsort(-p, kind="stable")[:4].tolist()) | {int(tokens[i, t + 1])}
            p = np.where([v in kept for v in range(11)], p, 0)
            p /= p.sum()
            assert float(logp[i, t]) == pytest.approx(np.log(p[tokens[i, t + 1]]), abs=1e-5)
            spread = -sum(x * np.log(x) for x in p if x > 0)
            assert float(entropy[i, t]) == pytest.approx(spread, abs=1e-5)


def test_a_narrow_beam_and_a_greedy_row_say_a_likeliest_token_each_time(
    policy: TokenPolicy,
) -> None:
    """One of several where counts are equal."""
    greedy = [dataclasses.replace(one, rule=Decoding(temperature=0)) for one in requests()]
    searched = beam_search(policy, requests(), width=1, length_penalty=0.0)
    for row in [*Engine(policy).run(greedy), *(best for [best] in searched)]:
        for t, said in enumerate(row.raw_logp):
            before = np.array(row.prompt + row.tokens[:t])
            full = policy.network.model.distribution([before])[0]
            assert said == pytest.approx(full.max(), abs=1e-5)
