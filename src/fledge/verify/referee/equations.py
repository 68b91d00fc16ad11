"""The equations that a policy-gradient, likelihood or preference step may follow, each written out
from the exact scores: which of them is it that a peer computes?

A step of B rows adds Σ_i Σ_t w_it ∇log π(y_it | y_i<t) to the table. The equations differ in the
weights w, and every weight is arithmetic on rewards, lengths and log-probabilities: no line here is
shared with a trainer, ours or another's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from fledge.exact.problem import Problem
from fledge.verify.referee.question import Step

EPSILON = 1e-4  # beside a standard deviation, as TRL has it
Equation = Callable[["Scores", Step], Tensor]


@dataclass(frozen=True)
class Scores:
    """∇log π of every step of every sequence, with its log-probability under policy and
    reference. `tempered` says whether the temperature was heeded.
    """

    problem: Problem
    score: Tensor  # [S, T, P·V], 0 after a sequence's end
    logp: Tensor  # [S, T]
    reference: Tensor  # [S, T]
    length: Tensor  # [S]

    @classmethod
    def of(cls, problem: Problem, tempered: bool = True) -> Scores:
        temperature = problem.temperature if tempered else 1.0

        def read(table: Tensor) -> Tensor:
            return problem.language.step_log_prob(table / temperature)

        score: Any = torch.autograd.functional.jacobian(read, problem.logits)
        other = problem.logits if problem.reference is None else problem.reference
        length = torch.tensor([len(word) for word in problem.language.sequences])
        return cls(problem, score.flatten(2), read(problem.logits), read(other), length)

    def add_up(self, words: Tensor, weight: Tensor) -> Tensor:
        """Σ_it w_it ∇log π.  words [B], weight [B, T] -> [P·V]"""
        return torch.einsum("bt,btn->n", weight, self.score[words])


def _center(reward: Tensor, groups: int) -> Tensor:
    grouped = reward.view(groups, -1)
    return (grouped - grouped.mean(1, keepdim=True)).flatten()


def _leave_one_out(reward: Tensor, groups: int) -> Tensor:
    grouped = reward.view(groups, -1)
    size = grouped.shape[1]
    return (grouped - (grouped.sum(1, keepdim=True) - grouped) / max(1, size - 1)).flatten()


def _spread(values: Tensor, groups: int, lost: int) -> Tensor:
    """The standard deviation of each row's group, with `lost` degrees of freedom gone."""
    grouped = values.view(groups, -1)
    size = grouped.shape[1]
    square = (grouped - grouped.mean(1, keepdim=True)).square().sum(1, keepdim=True)
    return (square / max(1, size - lost)).sqrt().expand_as(grouped).flatten()


def _divide(apart: Tensor, spread: Tensor) -> Tensor:
    """0 where there is no spread: a step that is no number there is counted as lost, not here."""
    return torch.where(spread > 1e-12, apart / spread.clamp(min=1e-12), 0.0)


def _normalised(reward: Tensor, groups: int) -> Tensor:
    apart = _leave_one_out(reward, groups)
    return (apart - apart.mean()) / (_spread(apart, 1, 1) + EPSILON)


def _whiten_tokens(worth: Tensor, length: Tensor) -> Tensor:
    """Every token holds its row's number: mean 0 and variance 1 over all tokens.  [B] -> [B]"""
    tokens = worth.repeat_interleave(length.long())
    return (worth - tokens.mean()) / (tokens.var() + 1e-8).sqrt()


# Of rewards [B], the number of groups and lengths [B].
ADVANTAGES: dict[str, Callable[[Tensor, int, Tensor], Tensor]] = {
    "r − mean": lambda r, g, n: _center(r, g),
    "(r − mean)/(std + ε)": lambda r, g, n: _center(r, g) / (_spread(r, g, 1) + EPSILON),
    "(r − mean)/(std of the batch + ε)": lambda r, g, n: (
        _center(r, g) / (_spread(r, 1, 1) + EPSILON)
    ),
    "r − mean of the others": lambda r, g, n: _leave_one_out(r, g),
    "r − mean of the others, whitened over the batch": lambda r, g, n: _normalised(r, g),
    "(r − mean)/(std + 10⁻⁶)": lambda r, g, n: _center(r, g) / (_spread(r, g, 1) + 1e-6),
    "(r − mean)/std": lambda r, g, n: _divide(_center(r, g), _spread(r, g, 1)),
    "(r − mean)/(std over G + ε)": lambda r, g, n: _center(r, g) / (_spread(r, g, 0) + EPSILON),
    "(r − mean)/std over G": lambda r, g, n: _divide(_center(r, g), _spread(r, g, 0)),
    "(r − mean of the batch)/(std of the batch + ε)": lambda r, g, n: (
        _center(r, 1) / (_spread(r, 1, 1) + EPSILON)
    ),
    "r, whitened over all tokens": lambda r, g, n: _whiten_tokens(r, n),
    "r − mean, whitened over all tokens": lambda r, g, n: _whiten_tokens(_center(r, g), n),
    "r": lambda r, g, n: r,
}
# Of the lengths, the longest allowed, and whether a row's group has different rewards.
SHARES: dict[str, Callable[[Tensor, int, Tensor], Tensor]] = {
    "mean over sequences of the mean over tokens": lambda n, most, apart: (
        1 / (len(n) * n.clamp(min=1))
    ),
    "mean over all tokens": lambda n, most, apart: (1 / n.sum().clamp(min=1)).expand(len(n)),
    "sum over tokens / (rows × longest allowed)": lambda n, most, apart: n.new_full(
        (len(n),), 1 / (len(n) * most)
    ),
    "sum over tokens / rows": lambda n, most, apart: n.new_full((len(n),), 1 / len(n)),
    "mean over all tokens of groups whose rewards differ": lambda n, most, apart: (
        1 / (n * apart).sum().clamp(min=1)
    ).expand(len(n)),
}
# What a penalty in the loss adds to the weight of a step, with d = log π − log π_ref.
PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "k3 in the loss": lambda d: 1 - (-d).exp(),
    "k2 in the loss": lambda d: d,
    "k1 in the loss": lambda d: torch.ones_like(d),
}


# What a likelihood does to a token beside its share; "" is nothing.
LIKELIHOODS = {
    "": "",
    "each token weighed by its probability": "probable",
    "1 − ε of it, ε of the mean over the vocabulary": "smoothed",
    "1 − ε of it, ε of the mean over the vocabulary; each token is its own label": "unshifted",
}
SMOOTHING = 0.1  # ε
UNSAID = 2  # symbols of the model's vocabulary that are never said: the opening token and padding


def weigh_policy(
    scores: Scores, step: Step, advantage: str, share: str, penalty: str | None
) -> Tensor:
    words = torch.tensor(step.words)
    gap = scores.logp[words] - scores.reference[words]  # [B, T], 0 after the end
    reward = scores.problem.reward[words]
    if penalty == "k1 in the reward":
        reward = reward - scores.problem.beta * gap.sum(1)
    length = scores.length[words].to(gap)
    worth = ADVANTAGES[advantage](reward, step.groups, length)[:, None].expand_as(gap)
    if penalty in PENALTIES:
        worth = worth - scores.problem.beta * PENALTIES[penalty](gap)
    apart = _spread(scores.problem.reward[words], step.groups, 0) > 1e-12
    part = SHARES[share](length, scores.score.shape[1], apart)
    return scores.add_up(words, worth * part[:, None])


def policy_equations(problem: Problem) -> Iterator[tuple[str, Equation]]:
    """Every combination, the ones that papers write first."""
    penalties = (*PENALTIES, "k1 in the reward", None) if problem.beta else (None,)
    for penalty, advantage, share in product(penalties, ADVANTAGES, SHARES):
        name = name_policy(advantage, share, penalty)

        def equation(
            scores: Scores,
            step: Step,
            given: tuple[str, str, str | None] = (advantage, share, penalty),
        ) -> Tensor:
            return weigh_policy(scores, step, *given)

        yield name, equation


def name_policy(advantage: str, share: str, penalty: str | None = None) -> str:
    return f"{advantage}; {share}" + (f"; {penalty}" if penalty else "")


def likelihood_equations(problem: Problem) -> Iterator[tuple[str, Equation]]:
    """The negative log-likelihood, each token with its share."""
    for (said, kind), share in product(LIKELIHOODS.items(), SHARES):

        def equation(scores: Scores, step: Step, kind: str = kind, share: str = share) -> Tensor:
            words = torch.tensor(step.words)
            length = scores.length[words].to(scores.logp)
            part = SHARES[share](length, scores.score.shape[1], torch.ones_like(length))[:, None]
            weight = part * torch.ones_like(scores.logp[words])
            if kind == "probable":
                weight = weight * scores.logp[words].exp()
            added = scores.add_up(words, weight)
            if kind in ("smoothed", "unshifted"):
                return _smooth(scores, words, part, ahead=int(kind == "unshifted"))
            return added

        yield share + (f"; {said}" if said else ""), equation


def _smooth(scores: Scores, words: Tensor, part: Tensor, ahead: int = 0) -> Tensor:
    """∇ of (1 − ε) log π(y_t | y_<t) + ε Σ_v log π(v | y_<t)/V at every step of the words, where V
    counts two symbols that are never said. With `ahead` 1 it is π(· | y_≤t), where a sequence goes
    on from there.

    words [B], part [B, 1] -> [P·V]
    """
    language = scores.problem.language
    table = scores.problem.logits.clone().requires_grad_(True)
    size = language.vocabulary + UNSAID
    logp = table.log_softmax(-1)
    # Of the symbols never said, only −logsumexp depends on the table.
    spread = (table.sum(-1) - size * table.logsumexp(-1)) / size  # [P]
    place = {prefix: at for at, prefix in enumerate(language.prefixes)}
    total = spread.new_zeros(())
    for word, share in zip(words.tolist(), part.flatten(), strict=True):
        said = language.sequences[word]
        for t, symbol in enumerate(said):
            at = place.get(said[: t + ahead])
            if at is not None:
                kept = (1 - SMOOTHING) * logp[at, symbol] + SMOOTHING * spread[at]
                total = total + share * kept
    return torch.autograd.grad(total, table)[0].flatten()


def distance(answer: Tensor, formula: Tensor) -> float:
    """‖answer − formula‖/‖formula‖, infinite where either is not finite; 0 where both are 0."""
    if not bool(answer.isfinite().all()) or not bool(formula.isfinite().all()):
        return math.inf
    size = float(formula.norm())
    apart = float((answer - formula).norm())
    return apart / size if size > 1e-12 else (0.0 if apart < 1e-9 else math.inf)
