"""REINFORCE's gradient, averaged over everything that could have been sampled, is the exact policy
gradient.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch

from fledge.algorithms.policy.reinforce import Baseline, Reinforce, score_norm
from fledge.errors import UserError
from fledge.exact.enumerable import truncated
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from fledge.sample.rollouts import build_trajectories
from fledge.score.kl_control import KLControl
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from tests.algorithms.enumeration import EXACT, Enumeration
from tests.algorithms.heads import actor_critic
from tests.subjects import Gradients, learner, policy_of, rollouts, seeded, speak, transformer


def reinforce(baseline: Baseline) -> Any:
    return partial(Reinforce, settings=Reinforce.Settings(baseline=baseline))


@pytest.mark.parametrize("stop", [None, 0])
def test_without_a_baseline_the_expected_gradient_is_the_exact_one(stop: int | None) -> None:
    subject = Enumeration(reinforce("none"), 3, 3, stop)
    torch.testing.assert_close(subject.expected(), subject.exact(), **EXACT)
    assert subject.exact().abs().max() > 0.01


@pytest.mark.parametrize("stop", [None, 0])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("baseline", ["leave_one_out", "optimal"])
def test_a_baseline_from_the_others_leaves_the_expected_gradient_as_it_is(
    stop: int | None, size: int, baseline: Baseline
) -> None:
    subject = Enumeration(reinforce(baseline), 3, 2 if stop == 0 else 1, stop)
    torch.testing.assert_close(subject.expected(size), subject.exact(), **EXACT)
    assert subject.algorithm.gradient_claim == "unbiased"


def test_a_constant_baseline_leaves_it_too() -> None:
    subject = Enumeration(
        partial(Reinforce, settings=Reinforce.Settings(baseline="constant", baseline_value=5.0)),
        3,
        3,
        0,
    )
    torch.testing.assert_close(subject.expected(), subject.exact(), **EXACT)
    assert not torch.allclose(subject.ascent(0), Enumeration(reinforce("none"), 3, 3, 0).ascent(0))


@pytest.mark.parametrize("baseline", ["group", "batch"])
@pytest.mark.parametrize("size", [2, 3])
def test_a_baseline_that_holds_the_row_itself_scales_the_gradient(
    baseline: Baseline, size: int
) -> None:
    subject = Enumeration(reinforce(baseline))
    torch.testing.assert_close(subject.expected(size), subject.exact() * (size - 1) / size, **EXACT)
    scale = {"group": "(G-1)/G", "batch": "(B-1)/B"}[baseline]
    assert subject.algorithm.gradient_claim == f"unbiased up to scale {scale}"


@pytest.mark.parametrize(("baseline", "scale"), [("group", 1 / 2), ("batch", 3 / 4)])
def test_of_two_groups_of_two_the_group_or_all_four_rows_scale_it(
    baseline: Baseline, scale: float
) -> None:
    subject = Enumeration(reinforce(baseline), 2, 2, 0)
    ascent = torch.zeros_like(subject.table)
    for words in product(range(len(subject.p)), repeat=4):
        batch = speak(
            subject.language,
            words,
            2,
            subject.reward,
            subject.step_logp,
            torch.tensor([0, 0, 1, 1]),
        )
        subject.algorithm.update(batch)
        taken = -subject.gradients.taken[-1][0][:, subject.network.row_of(subject.language)].T
        ascent += math.prod(float(subject.p[i]) for i in words) * taken
    torch.testing.assert_close(ascent, scale * subject.exact(), **EXACT)


def test_with_the_kl_in_the_reward_the_expected_gradient_is_that_of_reward_minus_beta_kl() -> None:
    subject = Enumeration(reinforce("none"), 3, 3, 0, beta=0.7)
    torch.testing.assert_close(subject.expected(), subject.exact(0.7), **EXACT)
    assert (subject.exact(0.7) - subject.exact()).abs().max() > 0.01


@pytest.mark.parametrize("baseline", ["leave_one_out", "optimal"])
def test_with_the_kl_and_a_baseline_from_the_others_too(baseline: Baseline) -> None:
    subject = Enumeration(reinforce(baseline), beta=0.7)
    torch.testing.assert_close(subject.expected(2), subject.exact(0.7), **EXACT)


def test_the_weight_of_the_optimal_baseline_is_the_squared_norm_of_a_tables_gradient() -> None:
    subject = Enumeration(reinforce("none"), 3, 3, 0)
    words = range(len(subject.p))
    batch = speak(subject.language, words, 3, subject.reward, subject.step_logp)
    norms = score_norm(subject.algorithm.policy, batch, subject.algorithm.learner)
    squares = [
        subject.pull(torch.eye(len(subject.p), dtype=torch.float64)[i]).square().sum()
        for i in words
    ]
    torch.testing.assert_close(norms, torch.stack(squares))


def test_no_constant_baseline_has_less_variance_than_the_optimal_one() -> None:
    """On 100 random languages and rewards, by enumeration: b* beats none, the mean reward, and its
    own neighbours on either side.
    """
    for seed in range(100):
        subject = Enumeration(
            partial(Reinforce, settings=Reinforce.Settings(baseline="constant")),
            2,
            2,
            0,
            seed=10 * seed,
        )
        words = range(len(subject.p))
        one = torch.eye(len(words), dtype=torch.float64)
        # ‖∇log π(y)‖², [S]
        squares = torch.stack([subject.pull(one[i]).square().sum() for i in words])
        best = float((subject.p * squares * subject.reward).sum() / (subject.p * squares).sum())
        mean = float((subject.p * subject.reward).sum())

        def second_moment(
            baseline: float, subject: Enumeration = subject, words: range = words
        ) -> float:
            """The expected gradient is the same for all, so that this orders as the variance
            does.
            """
            subject.algorithm.baseline_value = baseline
            return sum(float(subject.p[i] * subject.ascent(i).square().sum()) for i in words)

        least = second_moment(best)
        for other in (0.0, mean, best - 0.1, best + 0.1):
            assert least <= second_moment(other) + 1e-12


def test_the_kl_that_is_reported_is_the_completions_k1_and_steers_beta() -> None:
    policy, reference = policy_of(transformer()), policy_of(transformer(5)).frozen_copy()
    batch = rollouts(policy)
    control = KLControl(0.1, target=0.5)
    figures = Reinforce(
        policy, learner(policy), Stopwatch(), reference=reference, kl=control
    ).update(batch)
    assert batch.logp is not None
    gap = batch.logp - reference.log_prob(batch.obs, batch.action, batch.chosen)
    expected = torch.where(batch.chosen, gap, 0.0).sum(1).mean().item()
    assert figures["kl_k1"] == pytest.approx(expected, rel=1e-5)
    assert figures["kl_coefficient"] == 0.1
    assert figures["drift"] < 1e-5
    assert control.beta == pytest.approx(0.1 * (1 + 0.1 * min(0.2, expected / 0.5 - 1)), rel=1e-5)


def test_a_resumed_run_goes_on_with_the_beta_that_it_had_come_to() -> None:
    """A KL beyond 1.2 times its target raises β by 1 + 0.1·0.2 a batch (Ziegler et al. 2019)."""

    def make() -> Reinforce:
        policy, reference = policy_of(transformer()), policy_of(transformer(5)).frozen_copy()
        control = KLControl(0.5, target=1e-3)
        return Reinforce(policy, learner(policy), Stopwatch(), reference=reference, kl=control)

    straight, resumed = make(), make()
    batch = rollouts(policy_of(transformer()))
    assert straight.update(batch)["kl_k1"] > 0.1
    resumed.load_state_dict(straight.state_dict())
    assert resumed.kl.beta == pytest.approx(0.5 * 1.02)
    figures = resumed.update(batch.replace(logp=None))
    assert figures["kl_coefficient"] == pytest.approx(0.5 * 1.02)


@pytest.mark.parametrize(
    ("in_fp32", "precision"), [(True, "fp32"), (True, "bf16"), (False, "fp32")]
)
def test_samples_say_their_own_kl_where_they_are_as_exact_as_the_trainer(
    in_fp32: bool, precision: str
) -> None:
    """Log-probabilities that are told ¼ too high in each step: the KL of a row is that much larger
    for each of its steps, unless the trainer asks its own policy.
    """
    policy, reference = policy_of(transformer()), policy_of(transformer(5)).frozen_copy()
    batch, fit = rollouts(policy), learner(policy, precision=precision)
    assert batch.logp is not None
    algorithm = Reinforce(
        policy, fit, Stopwatch(), reference=reference, kl=KLControl(0.1), sampled_in_fp32=in_fp32
    )
    own = algorithm.score(batch.replace(logp=None))[1]["kl_k1"]
    told = algorithm.score(batch.replace(logp=batch.logp + 0.25))[1]["kl_k1"]
    steps = batch.chosen.sum().item() / len(batch)
    believed = in_fp32 and precision == "fp32"
    assert told == pytest.approx(own + (0.25 * steps if believed else 0.0), rel=1e-4)


def test_the_kl_is_punished_where_the_batch_comes_without_log_probabilities() -> None:
    """What the trainer says of the samples is what the engine said: the same update."""
    outcomes = []
    for drop in (False, True):
        policy, reference = policy_of(transformer()), policy_of(transformer(5)).frozen_copy()
        fit = learner(policy, rows_per_micro_batch=3)
        gradients, batch = Gradients(fit), rollouts(policy)
        batch = batch.replace(logp=None) if drop else batch
        figures = Reinforce(
            policy, fit, Stopwatch(), reference=reference, kl=KLControl(5.0)
        ).update(batch)
        outcomes.append((gradients.flat, figures["kl_k1"], figures["kl_k3"]))
    assert outcomes[0][1] > 0.1
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_a_policy_is_at_distance_zero_from_itself_and_drift_is_still_seen() -> None:
    """The samples' own log-probabilities are float32: beside a bfloat16 reference they made a KL of
    rounding errors.
    """
    policy = policy_of(transformer())
    batch = rollouts(policy)
    assert batch.logp is not None
    fit = learner(policy, precision="bf16")
    Gradients(fit)
    algorithm = Reinforce(
        policy, fit, Stopwatch(), reference=policy.frozen_copy(), kl=KLControl(0.1)
    )
    figures = algorithm.update(batch)
    assert (figures["kl_k1"], figures["kl_k3"]) == (0.0, 0.0)
    assert 1e-4 < figures["drift"] < 0.1
    with pytest.raises(UserError, match="disagree"):
        algorithm.update(batch.replace(logp=batch.logp - 0.5))


@pytest.mark.parametrize("rule", [{"top_k": 2, "temperature": 0.7}, {"top_p": 0.8}])
def test_under_top_k_and_top_p_the_kl_is_that_of_the_policy_as_it_samples_from_the_whole_reference(
    rule: dict[str, float],
) -> None:
    """By enumeration: the figure's expectation, and the gradient of E[r] − β·KL with the support
    held as it is.
    """
    beta, start = 0.7, Enumeration(reinforce("none"), beta=0.7)
    language, reward, table = start.language, start.reward, start.table.clone().requires_grad_(True)
    inside = truncated(start.table, **rule) > -torch.inf  # pyright: ignore[reportArgumentType]
    assert not inside.all()
    cold = rule.get("temperature", 1.0)
    spoken_table = (table / cold).masked_fill(~inside, -torch.inf)
    whole = language.log_prob(start.algorithm.reference.network.logits(language).detach() / cold)
    logp = language.log_prob(spoken_table)
    said = (logp > -torch.inf).nonzero().squeeze(1)
    p = logp[said].exp()
    distance = (p * (logp - whole)[said]).sum()  # KL(π‖π_ref), finite
    slope = torch.autograd.grad((p * reward[said]).sum() - beta * distance, table)[0]
    exact = float(distance.detach())
    actor = TokenPolicy(start.network, rule=Decoding(**rule))  # pyright: ignore[reportArgumentType]
    fit = learner(actor)
    gradients = Gradients(fit)
    reference = start.algorithm.reference.with_rule(actor.rule)
    algorithm = Reinforce(
        actor,
        fit,
        Stopwatch(),
        settings=Reinforce.Settings(baseline="none"),
        reference=reference,
        kl=KLControl(beta),
    )
    mean, ascent = 0.0, torch.zeros_like(start.table)
    for i, weight in zip(said.tolist(), p.tolist(), strict=True):
        steps = language.step_log_prob(spoken_table.detach())
        mean += weight * algorithm.update(speak(language, [i], 3, reward, steps))["kl_k1"]
        ascent -= weight * gradients.taken[-1][0][:, start.network.row_of(language)].T
    assert mean == pytest.approx(exact, rel=1e-9)
    torch.testing.assert_close(ascent, slope, **EXACT)


def test_samples_of_another_policy_are_refused() -> None:
    policy = policy_of(transformer())
    batch = rollouts(policy)
    assert batch.logp is not None
    with pytest.raises(UserError, match="disagree"):
        Reinforce(policy, learner(policy), Stopwatch()).update(batch.replace(logp=batch.logp - 0.5))


def test_it_learns_to_say_what_is_rewarded() -> None:
    """Reward: the share of the four tokens that are 7. Chance is 1 in 9."""
    policy = policy_of(transformer())
    algorithm = Reinforce(
        policy,
        learner(policy, rate=1e-2, clip=1.0),
        Stopwatch(),
        settings=Reinforce.Settings(baseline="leave_one_out"),
    )
    random = seeded(0)
    scores = []
    for _ in range(60):
        completions = generate(
            policy, [[1]], max_new_tokens=4, stop=-1, samples=64, generator=random
        )
        reward = [completion.tokens.count(7) / 4 for completion in completions]
        algorithm.update(build_trajectories(completions, reward, [0] * 64))
        scores.append(sum(reward) / 64)
    assert scores[0] < 0.3
    assert scores[-1] > 0.95


def test_a_row_that_was_expected_counts_in_the_critics_mean() -> None:
    """Four rows of two steps, a critic that says 0, one reward of 1: ½·(1 + 1)/8."""
    both, no = actor_critic("one choice"), torch.zeros(4, 2, dtype=torch.bool)
    with torch.no_grad():
        for parameter in both.critic[-1].parameters():
            parameter.zero_()
    reward = torch.zeros(4, 2, dtype=torch.float64)
    reward[0, 1] = 1
    obs = torch.randn(4, 3, 3, dtype=torch.float64, generator=seeded(0))
    batch = Trajectories(obs, no.long(), ~no, reward, torch.tensor([[False, True]] * 4), no)
    fit = learner(both)
    Gradients(fit)
    figures = Reinforce(
        both, fit, Stopwatch(), settings=Reinforce.Settings(baseline="value"), actor_critic=both
    ).update(batch)
    assert figures["value_loss"] == pytest.approx(1 / 8)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_without_a_critic_an_end_of_either_kind_ends_the_return(end: str) -> None:
    actor, no = actor_critic("one choice"), torch.zeros(1, 3, dtype=torch.bool)
    ends = {"terminated": no, "truncated": no} | {end: torch.tensor([[False, True, False]])}
    reward = torch.tensor([[1.0, 2.0, 4.0]]).double()
    batch = Trajectories(torch.zeros(1, 4, 3).double(), no.long(), ~no, reward, **ends)
    weighed = Reinforce(
        actor, learner(actor), Stopwatch(), settings=Reinforce.Settings(baseline="none")
    ).weigh(batch, reward)
    assert weighed.weight.tolist() == [[3, 2, 4]]


def test_the_optimal_baseline_is_that_of_the_other_rows() -> None:
    """b* = Σ‖g‖²r / Σ‖g‖² over the others, ‖g‖² from the enumeration; not their mean."""
    subject = Enumeration(
        partial(Reinforce, settings=Reinforce.Settings(baseline="optimal")), 3, 2, 0
    )
    words, one = [0, 3, 5, 6, 1], torch.eye(len(subject.p), dtype=torch.float64)
    size = {i: float(subject.pull(one[i]).square().sum()) for i in words}
    reward = subject.reward.tolist()
    group = torch.zeros(len(words), dtype=torch.long)
    batch = speak(subject.language, words, 3, subject.reward, subject.step_logp, group)
    weight = subject.algorithm.weigh(batch, batch.reward).weight
    for row, i in enumerate(words):
        others = [j for j in words if j != i]
        best = sum(size[j] * reward[j] for j in others) / sum(size[j] for j in others)
        assert abs(best - sum(reward[j] for j in others) / 4) > 1e-3
        assert weight[row][batch.chosen[row]].tolist() == pytest.approx(
            [reward[i] - best] * int(batch.chosen[row].sum())
        )
