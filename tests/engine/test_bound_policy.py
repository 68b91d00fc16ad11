"""A policy bound by a constraint: the trainer's log-probabilities are the engine's, and both are
those of the distribution that a dense computation gives.
"""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from fledge.engine.constraint import Constraint
from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.engine.structures import regex
from fledge.log_prob import PLAIN, Decoding, restrict
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from fledge.score.kl import stepwise_kl
from fledge.trained_state import copy_module
from fledge.trajectories import Trajectories, from_rows
from tests.engine.strangers import RULES, SPELT, STOP, TOKENS
from tests.subjects import policy_of, transformer

PATTERN = "a(b|é|cab)*c?"
BOUND = regex(PATTERN, TOKENS, STOP)


def subject(rule: Decoding = PLAIN, seed: int = 0, chunk: int = 1024) -> TokenPolicy:
    policy = policy_of(transformer(seed=seed, dtype=torch.float64))
    return TokenPolicy(policy.network, policy.allowed, rule, chunk, BOUND)


def sampled(policy: TokenPolicy) -> tuple[Trajectories, list[list[float]]]:
    rows = generate(
        policy, [[3, 4], [5], [3, 3, 3, 3]], max_new_tokens=7, stop=STOP, samples=5,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    whole = [row.prompt + row.tokens for row in rows]
    own = [[False] * len(row.prompt) + [True] * len(row.tokens) for row in rows]
    return from_rows(whole, own), [row.logp for row in rows]


def could_follow(said: bytes, token: int) -> bool:
    """By `re`: whether the token may come after the text, by trying every short continuation."""
    if token in STOP:
        return re.fullmatch(PATTERN, said.decode(errors="replace")) is not None
    if not SPELT[token]:
        return False
    text = said + SPELT[token]
    ends = [b"", b"\xa9", b"ab", b"b", b"cab", b"ab", b"c", b"\xa9c"]
    return any(re.fullmatch(PATTERN.encode(), text + end) for end in ends)


def dense(policy: TokenPolicy, batch: Trajectories) -> torch.Tensor:
    """Logits of what each chosen step was sampled from, one step at a time.  [N, V]"""
    rows = []
    for obs, own in zip(batch.obs.tolist(), batch.chosen.tolist(), strict=True):
        said = b""
        for t, ours in enumerate(own):
            if ours:
                hidden = policy.hidden(torch.tensor([obs[: t + 1]]))[0, -1]
                raw = policy.network.unembedding @ hidden
                may = torch.tensor([could_follow(said, token) for token in range(len(SPELT))])
                raw = raw.masked_fill(~may, float("-inf"))[None]
                rows.append(restrict(raw, policy.rule, policy.allowed)[0])
                said += SPELT[obs[t + 1]] if obs[t + 1] not in STOP else b""
    return torch.stack(rows)


@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.greedy], ids=str)
@pytest.mark.parametrize("chunk", [4, 1024])
def test_the_trainer_scores_what_the_engine_sampled(rule: Decoding, chunk: int) -> None:
    policy = subject(rule, chunk=chunk)
    batch, told = sampled(policy)
    expected = dense(policy, batch).log_softmax(-1)
    action = batch.action[batch.chosen]
    exact = expected.gather(-1, action[:, None]).squeeze(-1)
    by_trainer = policy.log_prob(batch.obs, batch.action, batch.chosen)
    torch.testing.assert_close(by_trainer[batch.chosen], exact, rtol=0, atol=1e-10)
    engine = torch.tensor([one for row in told for one in row], dtype=torch.float64)
    torch.testing.assert_close(engine, exact, rtol=0, atol=1e-8)
    assert (by_trainer[~batch.chosen] == 0).all()


def test_its_gradient_and_entropy_are_those_of_the_bound_distribution() -> None:
    policy = subject(chunk=5)
    batch, _ = sampled(policy)
    logp, entropy = policy.evaluate(batch.obs, batch.action, batch.chosen, entropy=True)
    (logp.sum() + 0.3 * entropy.sum()).backward()
    ours = [weight.grad.clone() for weight in policy.parameters() if weight.grad is not None]
    policy.zero_grad()
    exact = dense(policy, batch).log_softmax(-1)
    chosen = exact.gather(-1, batch.action[batch.chosen][:, None])
    filled = exact.masked_fill(exact == float("-inf"), 0.0)
    spread = -(exact.exp() * filled).sum(-1)
    torch.testing.assert_close(entropy[batch.chosen], spread, rtol=0, atol=1e-10)
    (chosen.sum() + 0.3 * spread.sum()).backward()
    theirs = [weight.grad for weight in policy.parameters() if weight.grad is not None]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_the_kl_to_a_reference_is_between_bound_distributions() -> None:
    policy, reference = subject(), subject(seed=3).frozen_copy()
    assert reference.bound is BOUND
    batch, _ = sampled(policy)
    p, q = (dense(one, batch).log_softmax(-1) for one in (policy, reference))
    each = torch.where(p > float("-inf"), p.exp() * (p - q), 0.0).sum(-1)
    empty = torch.zeros(batch.chosen.shape, dtype=torch.float64)
    expected = empty.masked_scatter(batch.chosen, each.detach()).sum(1)
    torch.testing.assert_close(stepwise_kl(policy, reference, batch), expected, rtol=0, atol=1e-10)
    assert (expected > 1e-3).any()


def test_several_answers_in_a_row_are_bound_each_from_its_beginning() -> None:
    obs = [[3, 3, 4, 2, 5, 3, 6, 2]]  # prompt, a b stop, prompt, then a ab
    own = [[False, True, True, True, False, True, True, False]]
    batch = from_rows(obs, own)
    support = BOUND.pack_support(batch.action, batch.chosen)
    assert len(support) == 5
    first, again = support[0], support[3]
    assert first.tolist() == again.tolist()


def test_what_is_bound_says_so_and_can_be_unbound() -> None:
    policy = subject()
    assert policy.with_rule(Decoding(temperature=0.5)).bound is BOUND
    assert policy.bind(None).bound is None
    with pytest.raises(ValueError, match="which steps were chosen"):
        policy.log_prob(torch.tensor([[3, 4]]), torch.tensor([[4]]))


def test_a_copy_of_a_bound_policy_has_other_weights_and_the_same_bound() -> None:
    policy = subject()
    twin = copy_module(policy)
    assert twin.bound is policy.bound
    assert twin.network.unembedding is not policy.network.unembedding
    assert torch.equal(twin.network.unembedding, policy.network.unembedding)


def test_an_engine_asked_directly_is_bound_by_its_requests_alone() -> None:
    policy = subject()
    request = Request([3], 7, stop=STOP, constraint=BOUND, seed=4)
    bound, free = Engine(policy).run([request, dataclasses.replace(request, constraint=None)])
    assert isinstance(BOUND, Constraint)
    assert bound.tokens != free.tokens
