"""Sparse patterns are those of Child et al. (2019), place by place."""

from __future__ import annotations

import pytest

from fledge.models.images.attention_patterns import PATTERNS, Pattern, attention_mask


def sees(pattern: Pattern, head: int, i: int, j: int, stride: int, summary: int) -> bool:
    """§4.2, for one place and another, as it is written there."""
    if j > i:
        return False
    if pattern == "full" or i == j:
        return True
    if pattern == "strided":
        return i - stride < j if head % 2 == 0 else (i - j) % stride == 0
    if head % 2 == 0:
        return i // stride == j // stride
    return j % stride in range(stride - summary, stride)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_place_sees_what_the_paper_says(pattern: Pattern) -> None:
    stride, summary = 4, 2
    mask = attention_mask(pattern, 13, 3, stride, summary)
    assert mask.shape == (3, 13, 13)
    for head in range(3):
        for i in range(13):
            for j in range(13):
                assert bool(mask[head, i, j]) == sees(pattern, head, i, j, stride, summary)
