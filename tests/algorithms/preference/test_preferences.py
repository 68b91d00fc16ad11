"""Preferences: each loss is its paper's formula, and what it has its optimum at is what the paper
says.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fledge.algorithms.preference.dpo import DPO, IPO, WeighedPairs
from fledge.algorithms.preference.kto import KTO, is_wanted, mismatch, split_answers
from fledge.algorithms.preference.online_dpo import OnlineDPO, best_and_worst
from fledge.algorithms.preference.orpo import ORPO
from fledge.algorithms.preference.simpo import SimPO
from fledge.algorithms.settings import AlgorithmSettings
from fledge.exact.enumerable import Language, kl, optimum
from fledge.learner import Learner, Schedule
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.preference_losses import dpo, ipo, kto, odds_ratio, simpo
from fledge.sample.conversations import JudgedRows, Shuffled
from fledge.sample.generate import generate
from fledge.sample.rollouts import build_trajectories
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs, Trajectories, from_rows
from tests.every_algorithm import ALL_ROWS, DISTILLATION, EVERY, PREFERENCES, Case, policy
from tests.subjects import Gradients, TableNetwork, learner, rollouts, seeded, speak

LANGUAGE = Language(3, 2, stop=0)  # 3 symbols, 2 steps: 7 sequences
WORDS = range(len(LANGUAGE.sequences))
OPENING = 3
PAIRS = Pairs(rollouts(policy(), seed=1), rollouts(policy(), seed=2))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


# --- the formulas, in numpy ---


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


W, L = normal(9, seed=1), normal(9, seed=2)  # of the preferred and the rejected answers


def close(measured: Tensor, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(measured.numpy(), wanted, rtol=1e-12, atol=1e-14)


def test_losses_on_pairs_are_their_formulas() -> None:
    w, l = W.numpy(), L.numpy()  # noqa: E741
    close(dpo(W, L, 0.3), -np.log(sigmoid(0.3 * w - 0.3 * l)))
    close(ipo(W, L, 0.3), (w - l - 1 / 0.6) ** 2)
    close(simpo(W, L, 2.5, 0.7), -np.log(sigmoid(2.5 * w - 2.5 * l - 0.7)))


def test_the_odds_ratio_is_its_formula() -> None:
    w, l = -W.abs().numpy() - 0.01, -L.abs().numpy() - 0.01  # noqa: E741
    odds = lambda logp: np.exp(logp) / (1 - np.exp(logp))  # noqa: E731
    close(
        odds_ratio(torch.as_tensor(w), torch.as_tensor(l)),
        -np.log(sigmoid(np.log(odds(w) / odds(l)))),
    )


def test_the_odds_of_an_answer_known_by_heart_are_finite() -> None:
    sure = torch.zeros(1, requires_grad=True)
    loss = odds_ratio(torch.full((1,), -40.0), sure)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert sure.grad is not None
    assert torch.isfinite(sure.grad).all()


def test_kto_and_its_gradient_are_their_formulas() -> None:
    """v' = ±λ·β·σ(x)(1 − σ(x)): the loss falls with the log-ratio of what is wanted and rises with
    that of what is not.
    """
    ratio, beta, anchor = (
        W.clone().requires_grad_(True),
        0.4,
        torch.tensor(0.3, dtype=torch.float64),
    )
    wanted = torch.arange(9) % 2 == 0
    loss = kto(ratio, wanted, anchor, beta, desirable_weight=1.5, undesirable_weight=0.5)
    gradient = torch.autograd.grad(loss.sum(), ratio)[0]
    w, s = W.numpy(), np.where(wanted.numpy(), 1.0, -1.0)
    weight = np.where(wanted.numpy(), 1.5, 0.5)
    value = sigmoid(s * beta * (w - 0.3))
    close(loss.detach(), weight * (1 - value))
    close(gradient, -s * weight * beta * value * (1 - value))
    assert (gradient[wanted] < 0).all()
    assert (gradient[~wanted] > 0).all()


# --- the algorithms put their batches into the formulas ---


def logps(actor: TokenPolicy, rows: Trajectories) -> tuple[np.ndarray, np.ndarray]:
    """Sum over an answer, and tokens of it, with neither `answer_logp` nor a mask."""
    with torch.no_grad():
        steps = actor.log_prob(rows.obs, rows.action)
    own = [
        [float(x) for x, mine in zip(row, chosen, strict=True) if mine]
        for row, chosen in zip(steps, rows.chosen, strict=True)
    ]
    return np.array([sum(row) for row in own]), np.array([len(row) for row in own])


def test_each_algorithm_minimises_the_mean_of_its_formula() -> None:
    actor, other = policy(), policy(5)
    (w, nw), (l, nl) = logps(actor, PAIRS.preferred), logps(actor, PAIRS.rejected)  # noqa: E741
    (rw, _), (rl, _) = logps(other, PAIRS.preferred), logps(other, PAIRS.rejected)
    odds = lambda logp: np.exp(logp) / (1 - np.exp(logp))  # noqa: E731
    gap = w - rw - l + rl
    wanted: list[tuple[Callable[..., Any], AlgorithmSettings, np.ndarray]] = [
        (partial(DPO, reference=other), DPO.Settings(beta=0.2), -np.log(sigmoid(0.2 * gap))),
        (partial(DPO, reference=other), IPO.replace(beta=0.2), (gap - 2.5) ** 2),
        (
            SimPO,
            SimPO.Settings(beta=2.0, margin=0.5),
            -np.log(sigmoid(2 * w / nw - 2 * l / nl - 0.5)),
        ),
        (
            ORPO,
            ORPO.Settings(beta=0.3),
            -w / nw - 0.3 * np.log(sigmoid(np.log(odds(w / nw) / odds(l / nl)))),
        ),
    ]
    for make, settings, rows in wanted:
        moving = policy()
        figures = make(moving, learner(moving), Stopwatch(), settings).update(PAIRS)
        assert figures["loss"] == pytest.approx(rows.mean(), rel=1e-9), make
        assert figures["preferred_logp"] == pytest.approx(w.mean(), rel=1e-6)
        assert figures["rejected_logp"] == pytest.approx(l.mean(), rel=1e-6)
        assert 0 <= figures["pair_accuracy"] <= 1
    moving = policy()
    figures = DPO(
        moving, learner(moving), Stopwatch(), settings=DPO.Settings(beta=0.2), reference=other
    ).update(PAIRS)
    assert figures["pair_accuracy"] == pytest.approx((gap > 0).mean(), rel=1e-6)
    assert figures["reward_gap"] == pytest.approx(0.2 * gap.mean(), rel=1e-6)
    assert figures["preferred_log_ratio"] == pytest.approx((w - rw).mean(), rel=1e-6)


def test_kto_minimises_the_mean_of_its_formula() -> None:
    actor, other = policy(), policy(5)
    batch = rollouts(actor)
    w, r = logps(actor, batch)[0], logps(other, batch)[0]
    swapped = mismatch(split_answers(batch))
    anchor = max(0.0, (logps(actor, swapped)[0] - logps(other, swapped)[0]).mean())
    good = np.array(
        [float(row[mine].sum()) > 0 for row, mine in zip(batch.reward, batch.chosen, strict=True)]
    )
    gain = np.where(good, 1, -1) * 0.2 * (w - r - anchor)
    algorithm = KTO(
        actor,
        learner(actor),
        Stopwatch(),
        settings=KTO.Settings(beta=0.2, desirable_weight=1.5, undesirable_weight=0.5),
        reference=other,
    )
    figures = algorithm.update(batch)
    assert figures["reference_point"] == pytest.approx(anchor, abs=1e-6)
    assert figures["loss"] == pytest.approx(
        (np.where(good, 1.5, 0.5) * (1 - sigmoid(gain))).mean(), rel=1e-6
    )
    assert 0.2 < good.mean() < 0.8


def test_ktos_reference_point_is_never_negative() -> None:
    """Of the policy as the reference, and the reference as the policy: one of the two means is
    below zero.
    """
    batch = rollouts(policy())
    points = []
    for actor, other in ((policy(), policy(5)), (policy(5), policy())):
        points.append(float(KTO(actor, learner(actor), Stopwatch(), reference=other).anchor(batch)))
    assert min(points) == 0.0
    assert max(points) > 0.0


def answered(rows: list[list[int]], own: list[list[bool]]) -> list[Any]:
    return split_answers(from_rows(rows, own))


def test_mismatched_rows_hold_a_prompt_and_its_neighbours_answer() -> None:
    rows = [[1, 5, 7, 8, 2], [1, 6, 9, 2], [1, 4, 4, 4, 3, 2]]
    own = [[False] * 2 + [True] * 3, [False] * 2 + [True] * 2, [False] * 4 + [True] * 2]
    mixed = mismatch(answered(rows, own))
    wanted = from_rows(
        [[1, 5, 9, 2], [1, 6, 7, 8, 2], [1, 4, 4, 4, 9, 2]],
        [[False] * 2 + [True] * 2, [False] * 2 + [True] * 3, [False] * 4 + [True] * 2],
    )
    assert mixed.obs.tolist() == wanted.obs.tolist()
    assert mixed.chosen.tolist() == wanted.chosen.tolist()
    long = mismatch(answered([rows[2], [1, 7, 8, 9, 2]], [own[2], [False] + [True] * 4]))
    assert long.obs.tolist()[0] == [1, 4, 4, 4, 7, 8]  # cut to the longer of the two
    with pytest.raises(ValueError, match="one row has no neighbour"):
        mismatch(answered(rows[:1], own[:1]))


def test_a_neighbour_that_answers_the_same_prompt_is_passed_over() -> None:
    """Answers 10 to 15, of which 10, 11, 12 and 14 are to prompt 5: the nearest one to another
    prompt, the earlier of two.
    """
    asked, said = [5, 5, 5, 6, 5, 7], [10, 11, 12, 13, 14, 15]
    rows = [[1, q, a, 2] for q, a in zip(asked, said, strict=True)]
    mixed = mismatch(answered(rows, [[False, False, True, True]] * 6))
    assert mixed.obs[:, 1].tolist() == asked
    assert mixed.obs[:, 2].tolist() == [13, 13, 13, 12, 13, 14]
    # all to one prompt: nothing can be mismatched
    alone = mismatch(answered(rows[:3], [[False, False, True, True]] * 3))
    assert alone.obs[:, 2].tolist() == [12, 10, 11]


def test_verdicts_become_rewards_of_either_sign() -> None:
    rows = [
        (([1, 5, 7, 2], [False, False, True, True]), True),
        (([1, 5, 2], [False, False, True]), False),
    ]
    sampler = JudgedRows(Shuffled(rows, 0), rows_per_step=4)
    batch = next(sampler)
    assert is_wanted(batch).tolist() == [False, False, True, True]  # the shorter ones stand first
    assert sampler.figures == {"epoch": 2.0}
    again = JudgedRows(Shuffled(rows, 0), rows_per_step=4)
    again.load_state_dict(sampler.state_dict())
    assert next(again).obs.equal(next(sampler).obs)


# --- the optimum, by enumeration ---


def every_pair(weight: Tensor) -> WeighedPairs:
    """Each ordered pair of sequences, with how often it counts as (preferred, rejected).  weight
    [S, S] -> S² pairs
    """
    first, second = zip(*[(i, j) for i in WORDS for j in WORDS], strict=True)
    none = torch.zeros(len(WORDS), dtype=torch.float64)
    preferred, rejected = (speak(LANGUAGE, words, OPENING, none) for words in (first, second))
    return WeighedPairs(preferred, rejected, weight.flatten())


def settle(
    make: Callable[..., Any], settings: AlgorithmSettings, batch: Any, steps: int = 800
) -> tuple[Tensor, Tensor]:
    """log π of every sequence where the algorithm comes to rest, and log π_ref where it began.
    [S], [S]
    """
    network = TableNetwork(LANGUAGE.vocabulary, LANGUAGE.length, seed=1)
    actor = TokenPolicy(network)
    with torch.no_grad():
        reference = LANGUAGE.log_prob(network.logits(LANGUAGE))
    fit = Learner(
        actor, Schedule(0.05, steps, shape="cosine", final=1e-3), optimizer=adamw(weight_decay=0.0)
    )
    algorithm = make(actor, fit, Stopwatch(), settings, reference=actor.frozen_copy())
    for _ in range(steps):
        algorithm.update(batch)
    with torch.no_grad():
        return LANGUAGE.log_prob(network.logits(LANGUAGE)), reference


REWARD = normal(len(WORDS), seed=11)
# [S, S]: how often row is preferred to column
BRADLEY_TERRY = torch.sigmoid(REWARD[:, None] - REWARD[None])


def test_dpo_rests_at_the_optimum_of_the_reward_its_preferences_come_from() -> None:
    """Rafailov et al. 2023, theorem 1: π_ref·exp(r/β)/Z, and the reward it implies is r but for a
    constant.
    """
    beta = 0.5
    logp, reference = settle(DPO, DPO.Settings(beta=beta), every_pair(BRADLEY_TERRY))
    best = optimum(REWARD, reference, beta)
    assert kl(reference, best) > 0.5
    assert kl(logp, best) < 1e-5
    implied = beta * (logp - reference)
    assert implied.argsort().tolist() == REWARD.argsort().tolist()
    torch.testing.assert_close(implied - implied.mean(), REWARD - REWARD.mean(), rtol=0, atol=0.01)


@pytest.mark.parametrize("certain", [False, True])
def test_ipo_rests_at_the_optimum_of_the_share_of_answers_each_one_beats(certain: bool) -> None:
    """With both answers drawn uniformly, least squares over h(y) − h(y') = ±1/(2β) gives log
    π/π_ref(y) = p(y ≻ μ)/β but for a
    constant: gaps of (p(y ≻ μ) − p(y' ≻ μ))/β, for two answers (p − ½)/β twice. It stays finite
        where preferences are certain.
    """
    beta = 0.5
    share = (
        (REWARD[:, None] > REWARD[None]).double() + 0.5 * torch.eye(len(WORDS))
        if certain
        else BRADLEY_TERRY
    )
    logp, reference = settle(DPO, IPO.replace(beta=beta), every_pair(share))
    beats = share.mean(1)  # p(y ≻ μ), [S]
    assert kl(logp, optimum(beats, reference, beta)) < 1e-6
    ratio = logp - reference
    torch.testing.assert_close(
        ratio - ratio.mean(), (beats - beats.mean()) / beta, rtol=0, atol=1e-3
    )


def test_ipo_between_two_answers_leaves_a_gap_of_p_less_a_half_over_beta() -> None:
    weight = torch.zeros_like(BRADLEY_TERRY)
    weight[1, 2], weight[2, 1] = 0.8, 0.2
    logp, reference = settle(DPO, IPO.replace(beta=0.5), every_pair(weight))
    ratio = logp - reference
    assert float(ratio[1] - ratio[2]) == pytest.approx((0.8 - 0.5) / 0.5, abs=1e-3)


def test_online_dpo_moves_towards_what_the_verifier_rewards() -> None:
    """Real samples: the expected reward rises from its start by half of what there is to gain, and
    KL stays finite.
    """
    network = TableNetwork(LANGUAGE.vocabulary, LANGUAGE.length, seed=1)
    actor = TokenPolicy(network)
    number = {word: i for i, word in enumerate(LANGUAGE.sequences)}

    def worth() -> float:
        with torch.no_grad():
            return float((LANGUAGE.log_prob(network.logits(LANGUAGE)).exp() * REWARD).sum())

    before = worth()
    fit = Learner(actor, Schedule(0.03, 100), optimizer=adamw(weight_decay=0.0))
    algorithm = OnlineDPO(actor, fit, Stopwatch(), reference=actor.frozen_copy(), beta=0.1)
    random, figures = seeded(3), {}
    for _ in range(100):
        said = generate(
            actor, [[OPENING]] * 16, max_new_tokens=2, stop=0, samples=4, generator=random
        )
        reward = [float(REWARD[number[tuple(each.tokens)]]) for each in said]
        figures = algorithm.update(build_trajectories(said, reward, [i // 4 for i in range(64)]))
    assert worth() > (before + float(REWARD.max())) / 2
    assert figures["kl_k1"] > 0.1
    assert figures["drift"] < 1e-6
    assert 0 <= figures["zero_spread_groups"] < 1


def test_online_dpo_pairs_the_best_with_the_worst_and_drops_groups_without_spread() -> None:
    actor = policy()
    batch = rollouts(actor)[:12].replace(group=torch.arange(12) // 4)
    earned = [3.0, 1.0, 5.0, 5.0, 2.0, 2.0, 2.0, 2.0, 0.0, -1.0, -1.0, 4.0]
    ends = torch.arange(1, 13) == batch.last()[:, None]
    batch = batch.replace(reward=torch.where(ends, torch.tensor(earned).double()[:, None], 0.0))
    best, worst, spread = best_and_worst(batch)
    assert best[spread].tolist() == [2, 11]
    assert worst[spread].tolist() == [1, 9]
    assert spread.tolist() == [True, False, True]
    one, other = policy(), policy()
    fits = [learner(one), learner(other)]
    looks = [Gradients(fit) for fit in fits]
    figures = OnlineDPO(one, fits[0], Stopwatch(), reference=policy(5), beta=0.2).update(batch)
    rows = torch.tensor([2, 11]), torch.tensor([1, 9])
    same = DPO(
        other, fits[1], Stopwatch(), settings=DPO.Settings(beta=0.2), reference=policy(5)
    ).update(Pairs(batch[rows[0]], batch[rows[1]]))
    torch.testing.assert_close(looks[0].flat, looks[1].flat, rtol=1e-10, atol=1e-12)
    assert figures["zero_spread_groups"] == pytest.approx(1 / 3)
    assert {name: figures[name] for name in same} == pytest.approx(same)


def test_online_dpo_without_any_spread_trains_nothing() -> None:
    actor = policy()
    fit = learner(actor)
    look = Gradients(fit)
    batch = rollouts(actor)
    figures = OnlineDPO(actor, fit, Stopwatch(), reference=policy(5)).update(
        batch.replace(reward=torch.zeros_like(batch.reward))
    )
    assert figures["zero_spread_groups"] == 1.0
    assert figures["steps_skipped"] == 1
    assert not {"loss", "pair_accuracy"} & figures.keys()  # of no pair there is none
    assert look.flat.abs().max() == 0.0


@pytest.mark.parametrize("name", [*PREFERENCES, *DISTILLATION])
def test_an_algorithm_that_is_resumed_goes_on_bit_for_bit(name: str) -> None:
    def begin() -> Case:
        case = EVERY[name](ALL_ROWS, 5)
        del case.learner.optimizer.step  # the real one again
        return case

    def go_on(case: Case, steps: int) -> Tensor:
        for _ in range(steps):
            batch = case.batch
            if isinstance(batch, Trajectories):  # sampled from the policy as it is now
                with torch.no_grad():
                    batch = batch.replace(
                        logp=case.algorithm.policy.log_prob(batch.obs, batch.action, batch.chosen)
                    )
            case.algorithm.update(batch)
        return torch.cat([p.detach().flatten() for p in case.learner.parameters])

    whole, first, second = begin(), begin(), begin()
    go_on(first, 2)
    second.algorithm.load_state_dict(copy.deepcopy(first.algorithm.state_dict()))
    assert go_on(second, 2).equal(go_on(whole, 4))


def test_a_fresh_policy_has_the_losses_of_no_preference() -> None:
    """π = π_ref: log 2 for DPO, 1/(2β)² for IPO, ½ for KTO, whose reference point is then 0."""
    wanted: list[tuple[Callable[..., Any], Any, float]] = [
        (DPO, PAIRS, math.log(2)),
        (partial(DPO, settings=IPO), PAIRS, 25.0),
        (KTO, rollouts(policy()), 0.5),
    ]
    for make, batch, loss in wanted:
        actor = policy()
        figures = make(actor, learner(actor), Stopwatch(), reference=policy()).update(batch)
        assert figures["loss"] == pytest.approx(loss, abs=1e-9)
        assert figures["reward_gap"] == pytest.approx(0.0, abs=1e-9)


def test_simpo_goes_on_from_its_state() -> None:
    straight, resumed = (EVERY["simpo"](ALL_ROWS, None) for _ in range(2))
    for case in (straight, resumed):
        del case.learner.optimizer.step  # the real one again
    straight.algorithm.update(straight.batch)
    resumed.algorithm.load_state_dict(copy.deepcopy(straight.algorithm.state_dict()))
    assert resumed.learner.steps == 1
    assert resumed.algorithm.update(straight.batch) == straight.algorithm.update(straight.batch)
    pairs = zip(resumed.learner.parameters, straight.learner.parameters, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
