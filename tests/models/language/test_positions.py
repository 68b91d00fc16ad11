"""Rotary positions: a product of rotated vectors depends on their distance only, and is Llama's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.models.language.positions import rotary_table, rotate
from tests.subjects import seeded


def turned(x: torch.Tensor, position: int, length: int = 4096) -> torch.Tensor:
    cos, sin = rotary_table(length, x.shape[-1])
    return rotate(x, cos[position], sin[position])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000), st.sampled_from([2, 8, 64])
)
def test_inner_products_depend_on_the_distance_only(m: int, n: int, shift: int, width: int) -> None:
    q, k = torch.randn(2, width, generator=seeded(width)) / width**0.5  # about unit length
    here = turned(q, m) @ turned(k, n)
    there = turned(q, m + shift) @ turned(k, n + shift)
    assert (here - there).abs() < 1e-5


def test_each_pair_is_turned_by_position_times_its_frequency() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])  # the pairs (1, 3) and (2, 4)
    rotated = turned(x, 7)
    for i, frequency in enumerate([1.0, 10_000 ** (-2 / 4)]):
        c, s = math.cos(7 * frequency), math.sin(7 * frequency)
        a, b = float(x[i]), float(x[i + 2])
        assert rotated[i].item() == pytest.approx(a * c - b * s, abs=1e-6)
        assert rotated[i + 2].item() == pytest.approx(a * s + b * c, abs=1e-6)


def test_rotation_keeps_lengths_and_position_zero_is_the_identity() -> None:
    x = torch.randn(5, 16, generator=seeded(0))
    assert torch.equal(turned(x, 0), x)
    torch.testing.assert_close(turned(x, 999).norm(dim=-1), x.norm(dim=-1))


def test_angles_are_exact_far_out() -> None:
    """float32 angles would be off by 0.01 at position 100,000."""
    cos, sin = rotary_table(100_001, 8)
    for i in range(4):
        angle = 100_000 * 10_000 ** (-2 * i / 8)
        assert cos[-1, i].item() == pytest.approx(math.cos(angle), abs=1e-6)
        assert -sin[-1, i].item() == pytest.approx(math.sin(angle), abs=1e-6)
