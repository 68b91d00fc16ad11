"""What a state of a hidden Markov model shows: normal distributions, mixtures of them, or symbols.

Each says how likely every step's observation is in every state, and is fitted anew to what the
states were (Rabiner 1989, §IV; Bishop 2006, eqs. 13.20–13.23).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fledge.models.latent.emission_pass import EmissionPass
from fledge.models.latent.gaussian_mixture import GaussianMixture
from fledge.models.latent.messages import Observed


class Emission(Protocol):
    """x: [N, D] float64, or [N] int64 of symbols."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x | z = k).  -> [N, K]"""
        ...

    def sample(self, state: Tensor, generator: torch.Generator) -> Tensor:
        """One observation for every state.  [N] -> [N, D] or [N]"""
        ...

    def count_parameters(self) -> int: ...
    def card(self) -> dict[str, Any]: ...
    def tensors(self) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class NormalEmission:
    """mixture: K · M normals, those of a state side by side; its weights sum to 1 in each state."""

    mixture: GaussianMixture
    states: int

    @property
    def parts(self) -> int:
        """M, normals of a state."""
        return self.mixture.components // self.states

    def log_prob(self, x: Tensor) -> Tensor:
        joint = self.mixture.log_joint(x).unflatten(1, (self.states, self.parts))
        return joint.logsumexp(2)

    def sample(self, state: Tensor, generator: torch.Generator) -> Tensor:
        mixture, M = self.mixture, self.parts
        part = torch.multinomial(
            mixture.weight.view(-1, M)[state], 1, replacement=True, generator=generator
        )
        noise = torch.randn(
            len(state), mixture.width, generator=generator, dtype=mixture.mean.dtype
        )
        component, covariance = state * M + part[:, 0], mixture.expand()
        x = mixture.mean[component]
        for k in range(mixture.components):
            own = component == k
            if mixture.has_matrices:
                x[own] += noise[own] @ torch.linalg.cholesky(covariance[k]).T
            else:
                x[own] += noise[own] * covariance[k].sqrt()
        return x

    def count_parameters(self) -> int:
        # the mixture counts one sum of weights, and here every state has one
        return self.mixture.count_parameters() + 1 - self.states

    def card(self) -> dict[str, Any]:
        return {"emission": "normal", "kind": self.mixture.kind, "states": self.states}

    def tensors(self) -> dict[str, Tensor]:
        return {f"emission_{name}": each for name, each in self.mixture.tensors().items()}


@dataclass(frozen=True)
class SymbolEmission:
    """probability: p(symbol | state), [K, V] float64, rows sum to 1. symbols: what each stands
    for.
    """

    probability: Tensor
    symbols: tuple[str, ...] = ()

    @property
    def states(self) -> int:
        return len(self.probability)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.probability.T.log()[x]

    def sample(self, state: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.multinomial(self.probability[state], 1, replacement=True, generator=generator)
        return drawn[:, 0]

    def count_parameters(self) -> int:
        return self.probability.numel() - self.states

    def card(self) -> dict[str, Any]:
        return {"emission": "symbols", "symbols": list(self.symbols)}

    def tensors(self) -> dict[str, Tensor]:
        return {"emission_probability": self.probability.contiguous().clone()}


def restore_emission(card: Mapping[str, Any], tensors: Mapping[str, Any]) -> Emission:
    """Raises KeyError for an emission that there is not."""
    own = {name.removeprefix("emission_"): each for name, each in tensors.items()}
    if card["emission"] == "symbols":
        return SymbolEmission(own["probability"], tuple(card["symbols"]))
    if card["emission"] != "normal":
        raise KeyError(f"emission {card['emission']!r}")
    mixture = GaussianMixture(card["kind"], own["weight"], own["mean"], own["covariance"])
    return NormalEmission(mixture, int(card["states"]))


def observe_symbols(emission: SymbolEmission, x: np.ndarray, out: np.ndarray) -> Observed:
    """Of symbols in the order time by time: a table of V rows is looked up.

    x: [N]. out: a buffer [N, K].
    """
    logs = emission.probability.T.log().numpy()  # [V, K]
    top = logs.max(1)
    share = np.exp(logs - top[:, None])
    np.take(share, x, 0, out=out, mode="clip")  # the usual mode would first fill a copy
    return Observed(out, top[x], lambda rows: logs[x[rows]])


def observe_plainly(emission: Emission, x: Tensor) -> Observed:
    """Of any emission.  x: rows in the order time by time"""
    return observe_logs(emission.log_prob(x).numpy())


def observe_logs(logs: np.ndarray) -> Observed:
    """Of log p(x | z = k).  [N, K]"""
    top = logs.max(1)
    return Observed(np.exp(logs - top[:, None]), top, lambda rows: logs[rows])


def observe_normals(
    emission: NormalEmission, x: Tensor, passes: EmissionPass, out: np.ndarray
) -> tuple[Observed, np.ndarray | None]:
    """The same, of a mixture's pass over points [N, D]; and where a state has several normals,
    p(normal | state, x) [N, K · M].  out: a buffer [N, K].
    """
    top, part = passes.weigh(emission.mixture, emission.states, x, out)
    return Observed(out, top, lambda rows: emission.log_prob(x[rows]).numpy()), part
