"""Spectral normalisation against singular values by another road."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fledge.models.images.spectral import Spectral, advance_all, normalise


def test_the_norm_is_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    for shape in ((7, 5), (4, 3, 3, 3), (1, 6)):
        weight = torch.randn(shape, dtype=torch.float64)
        spectral = Spectral(weight.float()).double()
        spectral.advance(weight, 300)
        exact = torch.linalg.svdvals(weight.flatten(1))[0]
        torch.testing.assert_close(spectral.measure(weight), exact, rtol=1e-9, atol=0)
        largest = torch.linalg.svdvals(spectral(weight).flatten(1))[0]
        torch.testing.assert_close(largest, torch.ones_like(largest), rtol=1e-9, atol=0)


def test_power_iteration_goes_on_only_when_told_to() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Conv1d(6, 2, 1), nn.Linear(1, 1))
    normalise(network)
    x = torch.randn(3, 6, 1)
    first: Any = network[0]
    spectral = first.parametrizations.weight[0]
    before = spectral.u.clone()
    for _ in range(3):
        network[0](x[:, :, 0])
    assert torch.equal(spectral.u, before)
    advance_all(network)
    assert not torch.equal(spectral.u, before)
    assert not hasattr(network[2], "parametrizations")  # of no kind that a critic here is made of
