"""A hidden Markov model: a state that changes at random and is not seen, and an observation at
every step that depends on the state alone.

Rabiner 1989: p(x, z) = π_{z_1} Π A_{z_{t−1} z_t} Π p(x_t | z_t).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.latent.emissions import (
    Emission,
    NormalEmission,
    SymbolEmission,
    observe_plainly,
    restore_emission,
)
from fledge.models.latent.log_messages import draw_paths, find_likeliest_path
from fledge.models.latent.messages import Messages, Posterior
from fledge.models.latent.step_order import choose_order


@dataclass(frozen=True)
class HiddenMarkov:
    """start: π [K]. transition: A [K, K], row i of what comes after state i; float64.

    Of observations x: [N, D] float64 or [N] int64, sequences one after the other, `lengths` long;
    without lengths they are one sequence.
    """

    start: Tensor
    transition: Tensor
    emission: Emission

    @property
    def states(self) -> int:
        """K."""
        return len(self.start)

    def count_parameters(self) -> int:
        K = self.states
        return K - 1 + K * (K - 1) + self.emission.count_parameters()

    def infer(self, x: Tensor, lengths: Sequence[int] | None = None) -> tuple[Posterior, Tensor]:
        """The posterior, and its p(z_t = k | x) in the order of x [N, K]."""
        messages, order = self._messages(x, lengths)
        observed = observe_plainly(self.emission, self.check(x)[order])
        posterior = messages.infer(self.start.numpy(), self.transition.numpy(), observed)
        return posterior, torch.from_numpy(messages.steps.restore(posterior.state))

    def responsibility(self, x: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """p(z_t = k | x_1 … x_T).  -> [N, K]"""
        return self.infer(x, lengths)[1]

    def log_prob(self, x: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """log p of every sequence, in nats.  -> [S]"""
        messages, order = self._messages(x, lengths)
        observed = observe_plainly(self.emission, self.check(x)[order])
        log_p = messages.measure(self.start.numpy(), self.transition.numpy(), observed)
        return torch.from_numpy(log_p)

    def _messages(self, x: Tensor, lengths: Sequence[int] | None) -> tuple[Messages, Tensor]:
        steps = choose_order(read_lengths(len(x), lengths), self.states)
        return Messages(steps, self.states), torch.from_numpy(steps.order)

    def predict(self, x: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """The likeliest path of every sequence (Viterbi).  -> [N]"""
        return torch.cat([path for path, _ in self.decode(x, lengths)])

    def decode(self, x: Tensor, lengths: Sequence[int] | None = None) -> list[tuple[Tensor, float]]:
        """argmax_z p(x, z) of every sequence, and its logarithm."""
        parts = self.emission.log_prob(self.check(x)).split(read_lengths(len(x), lengths))
        start, transition = self.start.numpy(), self.transition.numpy()
        paths = (find_likeliest_path(start, transition, part.numpy()) for part in parts)
        return [(torch.from_numpy(path), value) for path, value in paths]

    def draw_paths(self, x: Tensor, paths: int, generator: torch.Generator) -> Tensor:
        """z ~ p(z | x) of one sequence.  -> [paths, T]"""
        uniform = torch.rand(len(x), paths, generator=generator, dtype=torch.float64).numpy()
        logs = self.emission.log_prob(self.check(x)).numpy()
        drawn = draw_paths(self.start.numpy(), self.transition.numpy(), logs, paths, uniform)
        return torch.from_numpy(drawn)

    def sample(self, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One sequence, and its states.  -> [T, D] or [T], and [T]"""
        uniform = torch.rand(steps, generator=generator, dtype=torch.float64).numpy()
        state, share = np.empty(steps, dtype=np.int64), self.start.numpy().cumsum()
        rows = self.transition.numpy().cumsum(1)
        for t in range(steps):
            # the last of a cumulative sum may be a rounding below 1
            state[t] = min(int(np.searchsorted(share, uniform[t], side="right")), self.states - 1)
            share = rows[state[t]]
        path = torch.from_numpy(state)
        return self.emission.sample(path, generator), path

    def check(self, x: Tensor) -> Tensor:
        """The same. Raises UserError for a symbol that the model does not know, and for
        observations of another width.
        """
        if isinstance(self.emission, SymbolEmission):
            V = self.emission.probability.shape[1]
            if x.ndim != 1 or x.is_floating_point():
                raise UserError(
                    "observations are numbers, and the model is of symbols: give whole numbers."
                )
            if len(x) and not 0 <= int(x.min()) <= int(x.max()) < V:
                wrong = int(x.max()) if int(x.max()) >= V else int(x.min())
                raise UserError(
                    f"symbol {wrong} was given, and the model knows {V}, 0 to {V - 1}: it has no "
                    "probability. Fit with symbols that include it."
                )
        elif isinstance(self.emission, NormalEmission):
            D = self.emission.mixture.width
            if x.ndim != 2 or x.shape[1] != D:
                raise UserError(
                    f"observations have shape {list(x.shape)}, and the model is of {D} columns: "
                    f"give [N, {D}]."
                )
        return x

    def card(self) -> dict[str, Any]:
        return {"model": "hmm", **self.emission.card()}

    def tensors(self) -> dict[str, Tensor]:
        return {
            "start": self.start.contiguous().clone(),
            "transition": self.transition.contiguous().clone(),
            **self.emission.tensors(),
        }

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> HiddenMarkov:
        emission = restore_emission(card, tensors)
        return cls(tensors["start"], tensors["transition"], emission)


def read_lengths(steps: int, lengths: Sequence[int] | None) -> list[int]:
    """Raises UserError for lengths that are none, or do not sum to the steps."""
    if lengths is None:
        lengths = [steps]
    numbers = [int(length) for length in lengths]
    if not numbers or min(numbers) < 1 or sum(numbers) != steps:
        raise UserError(
            f"{steps} steps were given and lengths that sum to {sum(numbers)}: give the length of "
            "every sequence, 1 or more each."
        )
    return numbers


def check_distribution(rows: Tensor, what: str) -> Tensor:
    """The same. Raises UserError for a row that is negative or does not sum to 1."""
    sums = rows.sum(-1)
    if not bool((rows >= 0).all()) or not bool((sums - 1).abs().max() < 1e-6):
        raise UserError(
            f"{what} is no distribution: it sums to {sums.flatten().tolist()[:4]}, or a number is "
            "negative. Divide by the sum."
        )
    return rows / sums[..., None]
