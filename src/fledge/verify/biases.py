"""What a biased estimator is on average, written down: the credit of every step of every batch
there could have been.

One update adds Σ_i Σ_t c_it·∇log π(y_it|y_i,<t) to the policy, and c is all that an algorithm has
to say. Here it is worked out in plain numbers, one answer after the other, by the formulas of the
papers; nothing is shared with `weigh`, `fit` or the algorithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

from fledge.exact.problem import Problem


@dataclass(frozen=True)
class SampledSequence:
    """One sampled sequence of L steps, ended by its stop symbol or its length."""

    reward: float  # on its last step
    kl: list[float]  # log π/π_ref of each step, π the policy that began the update
    ratio: list[float]  # π/μ of each step: the policy that is fitted over the one that sampled
    value: list[float]  # what the critic says before each step

    @property
    def length(self) -> int:
        return len(self.ratio)

    def kl_to_go(self, t: int) -> float:
        return sum(self.kl[t:])


Credit = Callable[
    [Sequence[SampledSequence]], list[list[float]]
]  # of one group of answers: c of every step


def expected(
    problem: Problem, samples: int, credit: Credit, critic: Tensor | None = None
) -> Tensor:
    """The mean of Σ c·∇log π over all groups of `samples` answers.  critic [P] -> [P, V]"""
    language = problem.language
    fitted = problem.logits if problem.after is None else problem.after
    table = fitted.clone().requires_grad_(True)
    steps = problem.step_log_prob(table)  # [S, T], differentiable
    answers = every_answer(problem, steps.detach(), critic)
    chance = problem.prob().tolist()
    weight = torch.zeros(steps.shape, dtype=steps.dtype)
    for group in product(range(len(answers)), repeat=samples):
        mass = math.prod(chance[i] for i in group)
        for i, own in zip(group, credit([answers[i] for i in group]), strict=True):
            weight[i, : len(own)] += mass * torch.tensor(own, dtype=steps.dtype)
    mask = torch.tensor(
        [[t < len(word) for t in range(language.length)] for word in language.sequences]
    )
    return torch.autograd.grad((weight * torch.where(mask, steps, 0.0)).sum(), table)[0]


def every_answer(problem: Problem, fitted: Tensor, critic: Tensor | None) -> list[SampledSequence]:
    """Of the language, in its order.  fitted [S, T]: log π now; critic [P]"""
    language = problem.language
    began = problem.step_log_prob(problem.logits)
    reference = began if problem.reference is None else problem.step_log_prob(problem.reference)
    acting = began if problem.behaviour is None else problem.step_log_prob(problem.behaviour)
    values = [0.0] * len(language.prefixes) if critic is None else critic.tolist()
    number = {prefix: i for i, prefix in enumerate(language.prefixes)}
    made = []
    for i, word in enumerate(language.sequences):
        n = len(word)
        made.append(
            SampledSequence(
                float(problem.reward[i]),
                (began - reference)[i, :n].tolist(),
                (fitted - acting)[i, :n].exp().tolist(),
                [values[number[word[:t]]] for t in range(n)],
            )
        )
    return made


def tokens(group: Sequence[SampledSequence]) -> int:
    return sum(answer.length for answer in group)


def mean_and_deviation(numbers: Sequence[float]) -> tuple[float, float]:
    """The deviation with n − 1 below; 0 where all are the same."""
    mean = sum(numbers) / len(numbers)
    if all(x == numbers[0] for x in numbers):
        return mean, 0.0
    return mean, math.sqrt(sum((x - mean) ** 2 for x in numbers) / (len(numbers) - 1))


def clipped(advantage: float, ratio: float, low: float, high: float) -> float:
    """The slope of min(ρA, clip(ρ)A) along log π: ρA, and 0 where the clipped one is the smaller
    (Schulman et al. 2017, eq. 7).
    """
    beyond = ratio > 1 + high if advantage > 0 else ratio < 1 - low
    return 0.0 if beyond else ratio * advantage


def ppo(
    group: Sequence[SampledSequence],
    *,
    gae_lambda: float = 1.0,
    whitened: bool = False,
    beta: float = 0.0,
    low: float = 0.2,
    high: float = 0.2,
) -> list[list[float]]:
    """Â_t = Σ_l λ^l δ_(t+l) (Schulman et al. 2016, eq. 16, γ = 1), whitened over the batch's steps;
    the mean over those.
    """
    advantage: list[list[float]] = []
    for answer in group:
        worth = [-beta * kl for kl in answer.kl]
        worth[-1] += answer.reward
        after = [*answer.value[1:], 0.0]
        delta = [
            r + following - here
            for r, following, here in zip(worth, after, answer.value, strict=True)
        ]
        advantage.append(
            [
                sum(gae_lambda**k * later for k, later in enumerate(delta[t:]))
                for t in range(answer.length)
            ]
        )
    if whitened:
        mean, deviation = mean_and_deviation([each for own in advantage for each in own])
        advantage = [[(each - mean) / (deviation or 1.0) for each in own] for own in advantage]
    count = tokens(group)
    return [
        [
            clipped(each, ratio, low, high) / count
            for each, ratio in zip(own, answer.ratio, strict=True)
        ]
        for own, answer in zip(advantage, group, strict=True)
    ]


def group_advantage(
    group: Sequence[SampledSequence],
    beta: float = 0.0,
    divided: bool = True,
    late: Callable[[int], float] = lambda length: 0.0,
) -> list[list[float]]:
    """(r − mean)/deviation (Shao et al. 2024, §4.1.2), less β times what the KL still costs beyond
    the group's mean.
    """
    worth = [answer.reward + late(answer.length) for answer in group]
    mean, deviation = mean_and_deviation(worth)
    cost = sum(answer.kl_to_go(0) for answer in group) / len(group)
    scale = (deviation or 1.0) if divided else 1.0
    return [
        [(own - mean) / scale - beta * (answer.kl_to_go(t) - cost) for t in range(answer.length)]
        for own, answer in zip(worth, group, strict=True)
    ]


def grpo(
    group: Sequence[SampledSequence],
    *,
    beta: float = 0.0,
    low: float = 0.2,
    high: float = 0.2,
    by_tokens: bool = False,
    drop_equal: bool = False,
    late: Callable[[int], float] = lambda length: 0.0,
) -> list[list[float]]:
    """The mean over a row's tokens, then over rows (Shao et al. 2024, eq. 3); `by_tokens` over all
    (Yu et al. 2025, eq. 8).
    """
    if drop_equal and len({answer.reward for answer in group}) == 1:
        return [[0.0] * answer.length for answer in group]
    made = []
    for own, answer in zip(group_advantage(group, beta, late=late), group, strict=True):
        count = tokens(group) if by_tokens else answer.length * len(group)
        made.append(
            [
                clipped(each, ratio, low, high) / count
                for each, ratio in zip(own, answer.ratio, strict=True)
            ]
        )
    return made


dapo = partial(grpo, high=0.28, by_tokens=True, drop_equal=True)


def gspo(group: Sequence[SampledSequence]) -> list[list[float]]:
    """One ratio for a whole answer, the geometric mean of its steps' (Zheng et al. 2025, eqs. 5–7),
    within 1 − 3e-4 and 1 + 4e-4.
    """
    made = []
    for own, answer in zip(group_advantage(group), group, strict=True):
        ratio = math.prod(answer.ratio) ** (1 / answer.length)
        made.append([clipped(each, ratio, 3e-4, 4e-4) / answer.length / len(group) for each in own])
    return made


def cispo(group: Sequence[SampledSequence]) -> list[list[float]]:
    """The ratio is a weight, held within 0 and 5, and every token keeps its gradient (MiniMax 2025,
    eqs. 4 and 5).
    """
    rows = zip(group_advantage(group), group, strict=True)
    return [
        [
            min(ratio, 5.0) * each / tokens(group)
            for each, ratio in zip(own, answer.ratio, strict=True)
        ]
        for own, answer in rows
    ]


def spread_over_steps(weights: Callable[[Sequence[SampledSequence]], list[float]]) -> Credit:
    """A weight for each answer is that of all its steps."""
    return lambda group: [
        [weight] * answer.length for weight, answer in zip(weights(group), group, strict=True)
    ]


def reward_weighted(
    group: Sequence[SampledSequence], temperature: float = 1.0, beta: float = 0.0
) -> list[float]:
    """exp(r/τ) over their sum (Peters & Schaal 2007, eq. 8), the KL's price counted as reward."""
    mass = [math.exp((answer.reward - beta * sum(answer.kl)) / temperature) for answer in group]
    return [each / sum(mass) for each in mass]


def advantage_weighted(
    group: Sequence[SampledSequence], temperature: float = 1.0, cap: float = 20.0
) -> list[float]:
    """min(exp((r − mean)/τ), cap), a mean over rows (Peng et al. 2019, algorithm 1)."""
    mean = sum(answer.reward for answer in group) / len(group)
    return [
        min(math.exp((answer.reward - mean) / temperature), cap) / len(group) for answer in group
    ]


def weigh_right_answers(group: Sequence[SampledSequence], threshold: float) -> list[float]:
    """Those that earned the threshold, alike (Singh et al. 2024, eq. 5); none where none did."""
    right = [answer.reward >= threshold for answer in group]
    return [float(each) / max(1, sum(right)) for each in right]


def weigh_by_reward(group: Sequence[SampledSequence]) -> list[float]:
    """p(o=1|y) over its sum, the reward being that chance (Dayan & Hinton 1997, eq. 4)."""
    total = sum(answer.reward for answer in group)
    return [answer.reward / total if total else 0.0 for answer in group]


def weigh_best_answers(group: Sequence[SampledSequence]) -> list[float]:
    """The best of the group; equals share."""
    best = [answer.reward == max(other.reward for other in group) for answer in group]
    return [each / sum(best) for each in best]


def online_dpo(group: Sequence[SampledSequence], beta: float = 0.1) -> list[list[float]]:
    """β·σ(−β·(log π/π_ref(best) − log π/π_ref(worst))) on the best, the same against the worst
    (Rafailov et al. 2023, eq. 7).
    """
    rewards = [answer.reward for answer in group]
    best, worst = rewards.index(max(rewards)), rewards.index(min(rewards))
    gap = beta * (sum(group[best].kl) - sum(group[worst].kl))
    pull = beta / (1 + math.exp(gap)) if rewards[best] > rewards[worst] else 0.0
    sign = [pull * ((i == best) - (i == worst)) for i in range(len(group))]
    return [[own] * answer.length for own, answer in zip(sign, group, strict=True)]


def off_policy(
    group: Sequence[SampledSequence], truncate_at: float, beta: float = 0.0
) -> list[list[float]]:
    """Σ_{s≥t} min(w_s, c)·r_s, w_s the product of the ratios up to s (Precup et al. 2000; Ionides
    2008); the mean over rows.
    """
    made = []
    for answer in group:
        weight = [min(math.prod(answer.ratio[: s + 1]), truncate_at) for s in range(answer.length)]
        # The KL is that of the policy, whose log-probabilities began the update.
        worth = [-beta * kl for kl in answer.kl]
        worth[-1] += answer.reward
        earned = [w * r for w, r in zip(weight, worth, strict=True)]
        made.append([sum(earned[t:]) / len(group) for t in range(answer.length)])
    return made


def discounted(group: Sequence[SampledSequence], gamma: float) -> list[list[float]]:
    """γ^(steps from t to the reward)·r, as if every step were the first (Sutton & Barto 2018, §13.3
    without their γ^t).
    """
    return [
        [
            gamma ** (answer.length - 1 - t) * answer.reward / len(group)
            for t in range(answer.length)
        ]
        for answer in group
    ]


def overlong(limit: int, buffer: int) -> Callable[[int], float]:
    """0 down to −1 over the last `buffer` tokens before the limit (Yu et al. 2025, eq. 13)."""
    return lambda length: max(-1.0, min(0.0, (limit - buffer - length) / buffer))
