"""The law L(N, D) = E + A / N^α + B / D^β, and what it says of a budget (Hoffmann et al. 2022,
"Training Compute-Optimal Large Language Models", eq. 2 and 4).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TRAINING_FLOP = 6  # operations a parameter and token: two forward, four backward
SERVING_FLOP = 2
NAMES = ("E", "A", "B", "alpha", "beta")


@dataclass(frozen=True)
class Points:
    """Runs that were made.  Each [n], positive: parameters, tokens trained on, loss in nats a token
    (or in any other unit that has a floor). unique: how many of the tokens are different ones; all
    of them unless given.
    """

    parameters: Array
    tokens: Array
    loss: Array
    unique: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not len(self.unique):
            object.__setattr__(self, "unique", self.tokens)

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def flop(self) -> Array:
        """C = 6 N D, without what attention takes over long contexts.  [n]"""
        return TRAINING_FLOP * self.parameters * self.tokens

    def take(self, kept: NDArray[np.bool_] | NDArray[np.intp]) -> Points:
        return Points(self.parameters[kept], self.tokens[kept], self.loss[kept], self.unique[kept])


@dataclass(frozen=True)
class Law:
    """One law, or S of them where each field is [S, 1]."""

    E: Array | float
    A: Array | float
    B: Array | float
    alpha: Array | float
    beta: Array | float

    def foretell(self, parameters: Array | float, tokens: Array | float) -> Array:
        """Loss of so many parameters trained on so many tokens.  [n], [n] -> [n] or [S, n]"""
        of_size, of_data = self._take_apart(parameters, tokens)
        return np.asarray(self.E + of_size + of_data)

    def _take_apart(self, parameters: Array | float, tokens: Array | float) -> tuple[Array, Array]:
        """A / N^α and B / D^β."""
        n, d = np.asarray(parameters, float), np.asarray(tokens, float)
        # Bounded, so that quantiles over samples stay numbers where one power is absurd.
        of_size = np.minimum(-np.asarray(self.alpha) * np.log(n), 300.0)
        of_data = np.minimum(-np.asarray(self.beta) * np.log(d), 300.0)
        return self.A * np.exp(of_size), self.B * np.exp(of_data)

    def slope(self, parameters: Array, tokens: Array) -> Array:
        """∂ log L / ∂ (log E, log A, log B, α, β) of one law.  [n], [n] -> [n, 5]"""
        of_size, of_data = self._take_apart(parameters, tokens)
        parts = [
            np.full(len(parameters), self.E), of_size, of_data,
            -of_size * np.log(parameters), -of_data * np.log(tokens),
        ]  # fmt: skip
        return np.stack(parts, 1) / self.foretell(parameters, tokens)[:, None]

    def best_parameters(self, flop: Array | float, served_tokens: float = 0.0) -> Array:
        """Parameters of the least loss for a budget C, from 1 to those that see one token.

        Without serving N* = G (C/6)^(β/(α+β)), G = (αA / βB)^(1/(α+β)) (eq. 4). With
        `served_tokens` to be read or written afterwards, C = 6 N D + 2 N D_served (Sardana et al.
        2024, "Beyond Chinchilla-Optimal", eq. 2 the other way round): the root of the derivative
        along that line, by bisection of log N.
        """
        budget = np.asarray(flop, float)
        alpha, beta = np.asarray(self.alpha, float), np.asarray(self.beta, float)
        all_sizes = np.log(budget / TRAINING_FLOP)  # at one token
        with np.errstate(divide="ignore", invalid="ignore"):
            log_best = np.log(alpha * self.A) - np.log(beta * self.B) + beta * all_sizes
            log_best = log_best / (alpha + beta)
        # What lowers no loss gets nothing, and the other all.
        log_best = np.where(beta <= 0, all_sizes, log_best)
        log_best = np.where((alpha <= 0) | np.isnan(log_best), 0.0, log_best)
        best = np.exp(np.clip(log_best, 0.0, all_sizes))
        if not served_tokens:
            return best
        # D > 0 bounds N from above; serving costs more the larger a model is, so N* is smaller.
        most = budget / (SERVING_FLOP * served_tokens)
        high = np.log(np.minimum(best, most * (1 - 1e-12)))
        low = np.minimum(high, 0.0)
        for _ in range(100):
            middle = (low + high) / 2
            n = np.exp(middle)
            d = tokens_left(budget, n, served_tokens)
            # dL/dlogN with dD/dlogN = −C / (6 N)
            with np.errstate(over="ignore"):
                slope = beta * self.B * d ** (-beta - 1) * budget / (TRAINING_FLOP * n)
                slope = slope - alpha * self.A * n**-alpha
            low, high = np.where(slope < 0, middle, low), np.where(slope < 0, high, middle)
        return np.exp((low + high) / 2)


def tokens_left(flop: Array | float, parameters: Array, served_tokens: float = 0.0) -> Array:
    """D of a budget: (C − 2 N D_served) / 6 N."""
    served = SERVING_FLOP * parameters * served_tokens
    return (np.asarray(flop, float) - served) / (TRAINING_FLOP * parameters)
