"""Attention to what is near in blocks is that under a mask, and so is its gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fledge.models.language.near_attention import attend_near
from tests.subjects import seeded


@pytest.mark.parametrize(
    ("length", "window"), [(7, 2), (12, 3), (13, 3), (20, 5), (9, 4), (3, 5), (1, 1)]
)
def test_blocks_are_the_same_as_a_mask(length: int, window: int) -> None:
    q, k, v = (
        torch.randn(2, 3, length, 4, dtype=torch.float64, generator=seeded(n), requires_grad=True)
        for n in range(3)
    )
    slope = torch.randn(2, 3, length, 4, dtype=torch.float64, generator=seeded(9))
    place = torch.arange(length)
    mask = (place[:, None] - place).abs() <= window
    said = attend_near(q, k, v, window)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(said, expected, atol=1e-12, rtol=1e-12)
    for one, other in zip(
        torch.autograd.grad(said, (q, k, v), slope),
        torch.autograd.grad(expected, (q, k, v), slope),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)
