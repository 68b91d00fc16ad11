"""How a state's observations are weighed and fitted anew, in each step of Baum–Welch: normals, or
symbols. The observations stand in the order time by time, read once.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fledge.algorithms.latent.gaussian_m_step import maximise
from fledge.algorithms.latent.probabilities import share_out
from fledge.algorithms.latent.starts import fill_with_means
from fledge.models.latent.coordinates import measure_moments, whiten
from fledge.models.latent.emission_pass import EmissionPass
from fledge.models.latent.emissions import (
    NormalEmission,
    SymbolEmission,
    observe_logs,
    observe_normals,
    observe_symbols,
)
from fledge.models.latent.gaussian_missing_pass import sum_missing
from fledge.models.latent.gaussian_mixture import GaussianMixture, Kind
from fledge.models.latent.messages import Observed
from fledge.models.latent.moments import Moments


class StateFit(Protocol):
    def observe(self, emission: Any) -> Observed: ...
    def fit(self, emission: Any, state: np.ndarray) -> Any:
        """The likeliest emission.  state: p(z_t = k | x) [N, K]"""
        ...


class SymbolFit:
    """x: [N] int64."""

    def __init__(self, x: Tensor, states: int) -> None:
        self.x = x
        self.share = np.empty((len(x), states))
        # of every step and state the place of its count among V · K: bincount is then twice as
        # fast as index_add_
        self.place = (x.numpy()[:, None] * states + np.arange(states)).ravel()

    def observe(self, emission: SymbolEmission) -> Observed:
        return observe_symbols(emission, self.x.numpy(), self.share)

    def fit(self, emission: SymbolEmission, state: np.ndarray) -> SymbolEmission:
        K, V = emission.probability.shape
        count = torch.from_numpy(np.bincount(self.place, state.ravel(), V * K).reshape(V, K))
        return SymbolEmission(share_out(count.T, emission.probability), emission.symbols)


class NormalFit:
    """x: [N, D] float64. parts: normals of a state."""

    def __init__(self, x: Tensor, states: int, parts: int, kind: Kind, floor: float) -> None:
        self.x, self.states, self.parts, self.floor = x, states, parts, floor
        diagonal = kind in ("diagonal", "spherical")
        self.missing = x.isnan()
        moments = measure_moments(fill_with_means(x), None)
        self.coordinates = whiten(*moments, diagonal=diagonal)
        self.kind: Kind = kind
        self.passes = EmissionPass(kind, states * parts, self.coordinates)
        self.share = np.empty((len(x), states))
        self.part: np.ndarray | None = None  # p(normal | state, x), of the last `observe`

    def observe(self, emission: NormalEmission) -> Observed:
        """A missing value is integrated out; a step without any says nothing."""
        if bool(self.missing.any()):
            joint = emission.mixture.log_joint(self.x).unflatten(1, (self.states, self.parts))
            self.part = joint.softmax(2).flatten(1).numpy() if self.parts > 1 else None
            return observe_logs(joint.logsumexp(2).numpy())
        observed, self.part = observe_normals(emission, self.x, self.passes, self.share)
        return observed

    def fit(self, emission: NormalEmission, state: np.ndarray) -> NormalEmission:
        """After `observe` of the same emission."""
        share = state
        if self.part is not None:
            share = (self.part.reshape(len(state), self.states, -1) * state[:, :, None]).reshape(
                self.part.shape
            )
        if bool(self.missing.any()):
            seen = ~self.missing.all(1)
            shares = torch.from_numpy(share)[seen]
            moments = sum_missing(self.coordinates, emission.mixture, self.x[seen], shares)
        else:
            moments = self.passes.sum_moments(emission.mixture, self.x, share)
        return NormalEmission(self.maximise(moments, emission.mixture), self.states)

    def maximise(self, moments: Moments, previous: GaussianMixture | None) -> GaussianMixture:
        """The likeliest normals, with weights that sum to 1 in each state."""
        moved = maximise(
            moments, self.coordinates, self.kind, self.floor, float(len(self.x)), previous
        )
        count = moments.count.view(self.states, -1)
        even = torch.full_like(count, 1 / self.parts)
        before = even if previous is None else previous.weight.view(self.states, -1)
        weight = share_out(count, before).flatten()
        return GaussianMixture(moved.kind, weight, moved.mean, moved.covariance)
