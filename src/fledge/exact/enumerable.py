"""A language so small that every sequence can be written down: exact value, KL, policy gradient,
posterior and optimum of RLHF.

Nothing here is sampled or estimated, and nothing is shared with `weigh`, `fit` or the algorithms:
it is what they are held to.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

LARGEST_VOCABULARY, LONGEST = 4, 3  # 85 prefixes, 64 sequences


class Language:
    """Every sequence of `length` symbols out of `vocabulary`, or shorter where the symbol `stop`
    ends one.

    sequences: S tuples of symbols, the stop symbol included. prefixes: the P places where a symbol
    is chosen, shortest first. A model of the language is a table of logits [P, V]; anything that
    depends on it is differentiable, and as exact as its dtype. Raises ValueError for a language
    larger than 4 symbols or 3 steps.
    """

    def __init__(self, vocabulary: int, length: int, stop: int | None = None) -> None:
        if not 1 <= vocabulary <= LARGEST_VOCABULARY or not 1 <= length <= LONGEST:
            raise ValueError(
                f"{vocabulary} symbols and {length} steps were given: enumeration takes 1 to "
                f"{LARGEST_VOCABULARY} and 1 to {LONGEST}."
            )
        self.vocabulary, self.length, self.stop = vocabulary, length, stop
        words = [word for n in range(length + 1) for word in product(range(vocabulary), repeat=n)]
        possible = [word for word in words if stop not in word[:-1]]
        self.sequences = [
            word for word in possible if len(word) == length or (word and word[-1] == stop)
        ]
        self.prefixes = [
            word for word in possible if len(word) < length and (not word or word[-1] != stop)
        ]
        place = {prefix: i for i, prefix in enumerate(self.prefixes)}
        self._at = [[place[word[:t]] for t in range(len(word))] for word in self.sequences]

    def step_log_prob(self, logits: Tensor) -> Tensor:
        """log π(y_t | y_<t) of every step of every sequence, 0 after its end.  [P, V] -> [S,
        length]
        """
        logp = logits.log_softmax(-1)
        rows = []
        for word, at in zip(self.sequences, self._at, strict=True):
            steps = [logp[place, symbol] for place, symbol in zip(at, word, strict=True)]
            rows.append(torch.stack(steps + [logp.new_zeros(())] * (self.length - len(steps))))
        return torch.stack(rows)

    def log_prob(self, logits: Tensor) -> Tensor:
        """log π(y) = Σ_t log π(y_t | y_<t) of every sequence.  [P, V] -> [S]"""
        return self.step_log_prob(logits).sum(1)

    def logits_of(self, logp: Tensor, otherwise: Tensor) -> Tensor:
        """The table whose sequences have these log-probabilities: log of conditional sums, −inf
        where nothing follows.

        A prefix that is never reached keeps its row of `otherwise`.  [S], [P, V] -> [P, V]
        """
        mass = otherwise.new_zeros(otherwise.shape)
        for word, at, p in zip(self.sequences, self._at, logp.exp(), strict=True):
            for place, symbol in zip(at, word, strict=True):
                mass[place, symbol] += p
        return torch.where(mass.sum(1, keepdim=True) > 0, mass.log(), otherwise)


def value(logp: Tensor, reward: Tensor) -> Tensor:
    """E_π[r] = Σ_y π(y) r(y).  [S], [S] -> []"""
    return (logp.exp() * reward).sum()


def kl(logp: Tensor, other: Tensor) -> Tensor:
    """KL(π‖π') = Σ_y π(y) (log π(y) − log π'(y)), in nats; what π never says counts 0.  [S], [S] ->
    []
    """
    return (logp.exp() * torch.where(logp > -torch.inf, logp - other, 0.0)).sum()


def objective(logp: Tensor, reward: Tensor, reference: Tensor, beta: float) -> Tensor:
    """E_π[r] − β·KL(π‖π_ref), what RLHF maximises (Ouyang et al. 2022, eq. 2, without its text
    term).  [S] three times -> []
    """
    return value(logp, reward) - beta * kl(logp, reference)


def optimum(reward: Tensor, reference: Tensor, beta: float) -> Tensor:
    """log π*(y), π*(y) = π_ref(y) exp(r(y)/β) / Z: where `objective` is largest (Rafailov et al.
    2023, eq. 4).  [S], [S] -> [S]
    """
    return (reference + reward / beta).log_softmax(0)


def policy_gradient(
    language: Language,
    logits: Tensor,
    reward: Tensor,
    reference: Tensor | None = None,
    beta: float = 0.0,
) -> Tensor:
    """∇ of `objective` (of `value`, without a reference) with respect to the table of logits,
    through the enumeration.

    logits [P, V], reward [S], reference [S] -> [P, V]
    """
    table = logits.detach().clone().requires_grad_(True)
    logp = language.log_prob(table)
    worth = value(logp, reward) if reference is None else objective(logp, reward, reference, beta)
    return torch.autograd.grad(worth, table)[0]


def log_success(logp: Tensor, success: Tensor) -> Tensor:
    """log p(o=1) = log Σ_y p(o=1|y) π(y), success the probability that y is judged right.  [S], [S]
    -> []
    """
    return (logp + success.log()).logsumexp(0)


def posterior(logp: Tensor, success: Tensor) -> Tensor:
    """log p(y|o=1), p(y|o=1) ∝ p(o=1|y) π(y): the E-step (Dayan & Hinton 1997, eq. 4).  [S], [S] ->
    [S]
    """
    return (logp + success.log()).log_softmax(0)


def em_step(language: Language, logits: Tensor, success: Tensor) -> Tensor:
    """The table after one exact step of EM: the posterior itself, which a table can hold.  [P, V],
    [S] -> [P, V]
    """
    return language.logits_of(posterior(language.log_prob(logits), success), logits)


def truncated(
    logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> Tensor:
    """The table really sampled from: temperature, the k likeliest symbols, the nucleus, min-p; −inf
    elsewhere.  [P, V] -> [P, V]

    The nucleus is the fewest likeliest symbols whose mass, after temperature and top-k, reaches
    top_p (Holtzman et al. 2020, eq. 2). Of equally likely symbols the one with the smaller number
    goes first. min-p drops what is less than min_p times as likely as the likeliest (Nguyen et al.
    2024, §3).
    """
    out = torch.full_like(logits, float("-inf"))
    for place, row in enumerate((logits / temperature).tolist()):
        best = sorted(range(len(row)), key=lambda symbol: (-row[symbol], symbol))
        best = best[:top_k] if top_k else best
        weight = [math.exp(row[symbol] - row[best[0]]) for symbol in best]
        mass = 0.0
        for symbol, part in zip(best, weight, strict=True):
            if mass >= top_p or part < min_p * weight[0]:
                break
            out[place, symbol] = row[symbol]
            mass += part / sum(weight)
    return out
