"""Where Baum–Welch begins: numbers by k-means, as if their order meant nothing; symbols at random,
near what they are in the whole, for nothing else tells one state from another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.algorithms.latent.gaussian_start import sum_by_label
from fledge.algorithms.latent.probabilities import LEAST
from fledge.algorithms.latent.starts import (
    assign,
    begin_centres,
    choose_points,
    fill_with_means,
)
from fledge.algorithms.latent.state_fits import NormalFit
from fledge.models.latent.emissions import NormalEmission, SymbolEmission
from fledge.models.latent.gaussian_mixture import GaussianMixture
from fledge.models.latent.hidden_markov import HiddenMarkov
from fledge.rows.sequences import Sequences

SPREAD = 0.3  # of the logarithms of a random start's probabilities


def begin_symbols(sequences: Sequences, K: int, generator: torch.Generator) -> HiddenMarkov:
    """Every state shows symbols about as often as the data does."""
    V = len(sequences.symbols)
    frequency = torch.bincount(sequences.x, minlength=V).double() + 1 / V
    emission = SymbolEmission(
        _shake(frequency.expand(K, V), generator).clamp_min(LEAST), sequences.symbols
    )
    even = torch.full((1, K), 1 / K, dtype=torch.float64)
    transition = _shake(even.expand(K, K), generator)
    return HiddenMarkov(_shake(even, generator)[0], transition, emission)


def _shake(rows: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(rows.shape, generator=generator, dtype=rows.dtype)
    shaken = rows * (SPREAD * noise).exp()
    return shaken / shaken.sum(1, keepdim=True)


def begin_normals(
    sequences: Sequences, K: int, fit: NormalFit, generator: torch.Generator
) -> HiddenMarkov:
    """A state for every cluster, and its changes as often as the clusters follow one another, each
    counted once more.
    """
    scale = fit.coordinates.inverse.square().sum(1).sqrt()
    apart = fill_with_means(sequences.x) - fit.coordinates.centre
    x = apart / scale
    some = choose_points(x, None, generator)
    assert some.weight is not None
    centres = begin_centres(some.x, some.weight, K, generator)
    label = assign(x, centres)
    count = torch.ones(K, K, dtype=torch.float64)
    inner = torch.ones(len(label), dtype=torch.bool)
    inner[sequences.starts] = False
    follows = inner.nonzero()[:, 0]
    pairs = label[follows - 1] * K + label[follows]
    count += torch.bincount(pairs, minlength=K * K).view(K, K)
    first = 1 + torch.bincount(label[sequences.starts], minlength=K).double()
    part = _divide_states(x, label, K, fit.parts, generator)
    z = apart @ fit.coordinates.matrix.T
    moments = sum_by_label(z, part, K * fit.parts, fit.kind)
    mixture = fit.maximise(moments, None)
    emission = NormalEmission(_widen(mixture, moments.count), K)
    return HiddenMarkov(first / first.sum(), count / count.sum(1, keepdim=True), emission)


def _widen(mixture: GaussianMixture, count: Tensor) -> GaussianMixture:
    """Normals of fewer than two points are as wide as all are in the mean: no point tells, and a
    narrow one would stay with the one point it began at.
    """
    thin = count < 2
    if mixture.kind == "tied" or not bool(thin.any()):
        return mixture
    covariance = mixture.covariance.clone()
    covariance[thin] = torch.tensordot(count / count.sum(), mixture.covariance, 1)
    return GaussianMixture(mixture.kind, mixture.weight, mixture.mean, covariance)


def _divide_states(
    x: Tensor, label: Tensor, K: int, parts: int, generator: torch.Generator
) -> Tensor:
    """Every cluster in clusters of its own.  -> numbers below K · parts, [N]"""
    part = label * parts
    for k in range(K) if parts > 1 else ():
        own = (label == k).nonzero()[:, 0]
        if len(own):
            some = choose_points(x[own], None, generator)
            assert some.weight is not None
            part[own] += assign(x[own], begin_centres(some.x, some.weight, parts, generator))
    return part
