"""Judges of preferences agree with a plain loop over the pairs, and a tie is half right."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fledge.evaluate.preferences import (
    judge_pairs,
    judge_reward_model,
    judge_single_answers,
    measure_share_right,
)
from fledge.models.language.heads import ScalarModel
from fledge.policy import TokenPolicy
from fledge.text.packed import JudgedRow, Pair, TokenRow
from tests.subjects import policy_of, seeded, transformer

POLICY, REFERENCE = policy_of(transformer(seed=1)), policy_of(transformer(seed=2))
BETA = 0.5


def answer(number: int, length: int) -> TokenRow:
    ids = torch.randint(2, 11, (length,), generator=seeded(number)).tolist()
    return ids, [place >= 2 for place in range(length)]


PAIRS: list[Pair] = [(answer(n, 4 + n % 3), answer(50 + n, 7 - n % 4)) for n in range(12)]


def logp(policy: TokenPolicy, row: TokenRow) -> float:
    ids, own = torch.tensor([row[0]]), torch.tensor([row[1]])
    return float(policy.log_prob(ids, ids[:, 1:], own[:, 1:]).sum().detach())


def implied(row: TokenRow) -> float:
    return BETA * (logp(POLICY, row) - logp(REFERENCE, row))


def reward(logp: Tensor, reference: Tensor, tokens: Tensor) -> Tensor:
    assert tokens.tolist() == [[sum(row[1]) for row in side] for side in zip(*PAIRS, strict=True)]
    return BETA * (logp - reference)


def test_pairs_are_ranked_by_the_reward_that_the_policy_implies() -> None:
    gaps = [implied(preferred) - implied(rejected) for preferred, rejected in PAIRS]
    judge = judge_pairs(POLICY, REFERENCE, reward, {"validation": PAIRS, "test": PAIRS}, True)
    right = sum(gap > 0 for gap in gaps)
    assert 0 < right < 12
    assert judge.steer(0) == {
        "validation_pair_accuracy": right / 12,
        "validation_reward_gap": pytest.approx(sum(gaps) / 12, abs=1e-5),
    }
    same = judge_pairs(POLICY, POLICY, reward, {"validation": PAIRS, "test": PAIRS}, True)
    assert same.test() == {"pair_accuracy": 0.5, "reward_gap": 0.0}


def test_single_answers_are_told_apart_whatever_their_prompts() -> None:
    judged: list[JudgedRow] = [(row, side == 0) for pair in PAIRS for side, row in enumerate(pair)]
    wanted = [implied(row) for row, good in judged if good]
    others = [implied(row) for row, good in judged if not good]
    judge = judge_single_answers(POLICY, REFERENCE, BETA, {"validation": judged, "test": judged})
    ahead = sum(high > low for high in wanted for low in others) / 144
    gap = sum(wanted) / 12 - sum(others) / 12
    assert judge.test() == {
        "pair_accuracy": pytest.approx(ahead),
        "reward_gap": pytest.approx(gap, abs=1e-5),
    }
    assert judge.what == "answer"


def test_a_reward_model_is_judged_by_its_score_of_whole_answers() -> None:
    model = ScalarModel(transformer(seed=4))
    with torch.no_grad():
        model.head.linear.weight.copy_(torch.randn(1, 16, generator=seeded(5)))

    def score(row: TokenRow) -> float:
        ids = torch.tensor([row[0]])
        return float(model.score(ids, torch.tensor([ids.shape[1] - 1])).detach())

    right = sum(score(preferred) > score(rejected) for preferred, rejected in PAIRS)
    assert 0 < right < 12
    judge = judge_reward_model(model, {"validation": PAIRS[:4], "test": PAIRS}, False)
    assert judge.test() == {"pair_accuracy": right / 12}
    assert (judge.items, judge.apart) == ({"validation": 4, "test": 12}, False)


def test_a_tie_is_half_right() -> None:
    assert measure_share_right(torch.tensor([1.0, 0.0, -2.0, 0.0])) == 0.5
