"""A gradient that lies in one piece has the norm and the clipping of one that does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fledge.flat_gradient import FlatGradient
from tests.subjects import seeded

SHAPES = ((3, 4), (5,), (2, 2, 2))


def parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in SHAPES]
    for i, p in enumerate(made):
        p.grad = torch.randn(p.shape, generator=seeded(i), dtype=dtype)
    return made


def lengths(of: list[nn.Parameter]) -> float:
    return math.sqrt(
        sum(x * x for p in of for x in (p.grad.flatten().tolist() if p.grad is not None else []))
    )


@pytest.mark.parametrize("kind", ["one piece", "one is silent", "transposed", "large", "mixed"])
def test_norm_scale_and_clear(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = parameters()
    if kind == "large":
        monkeypatch.setattr("fledge.flat_gradient.MOST", 24)
    if kind == "one is silent":
        own[1].grad = None
    if kind == "mixed":
        own[1] = nn.Parameter(torch.zeros(5))
        own[1].grad = torch.ones(5)
    if kind == "transposed":
        own[0] = nn.Parameter(torch.zeros(4, 3, dtype=torch.float64).T)
        own[0].grad = torch.randn(4, 3, generator=seeded(9), dtype=torch.float64).T
    before = [None if p.grad is None else p.grad.clone() for p in own]
    flat = FlatGradient(own)
    for _ in range(2):  # the second time over the same memory
        for p, slope in zip(own, before, strict=True):
            p.grad = None if slope is None else slope.clone()
        assert float(flat.gather()) == pytest.approx(lengths(own), rel=1e-6)
        flat.scale(torch.tensor(0.25, dtype=torch.float64))
        for p, slope in zip(own, before, strict=True):
            assert (p.grad is None) == (slope is None)
            if p.grad is not None and slope is not None:
                assert p.grad.stride() == p.stride()
                assert torch.equal(p.grad, 0.25 * slope)
        flat.clear()
        assert all(p.grad is None for p in own)


def test_nothing_has_no_norm() -> None:
    own = parameters()
    flat = FlatGradient(own)
    flat.clear()
    assert float(flat.gather()) == 0
