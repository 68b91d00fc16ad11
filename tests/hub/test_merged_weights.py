"""Merging against its formulas, number by number; the bits of a model that has all the weight."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fledge.hub.merged_weights import add_agreeing, add_tasks, average, go_along_circle


def make_weights(seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    """Of many sizes, so that a sum in float32 would lose bits."""
    random = torch.Generator().manual_seed(seed)
    size = 10.0 ** torch.randint(-6, 3, (7, 5), generator=random)
    return {
        "matrix": scale * size * torch.randn(7, 5, generator=random),
        "vector": torch.randn(4, generator=random).bfloat16(),
        "none": torch.zeros(3),
    }


BASE, FIRST, SECOND, THIRD = (make_weights(seed) for seed in range(4))


@pytest.mark.parametrize(
    "merged",
    [
        average([SECOND, FIRST], [0.0, 1.0]),
        add_tasks(BASE, [FIRST], [1.0]),
        add_tasks(BASE, [SECOND, FIRST], [0.0, 1.0]),
        add_agreeing(BASE, [FIRST], [1.0], keep=1.0),
        add_agreeing(BASE, [FIRST, SECOND], [1.0, 0.0], keep=1.0),
        go_along_circle(FIRST, SECOND, 0.0),
        go_along_circle(SECOND, FIRST, 1.0),
        average([FIRST, FIRST], [0.5, 0.5]),
        go_along_circle(FIRST, FIRST, 0.3),
    ],
)
def test_all_weight_on_one_model_is_that_model_bit_for_bit(merged: dict[str, Tensor]) -> None:
    for name, weight in FIRST.items():
        assert merged[name].dtype == weight.dtype
        assert torch.equal(merged[name], weight), name


def test_average_and_task_arithmetic_are_their_sums() -> None:
    shares = [0.2, 0.3, 0.5]
    mean = average([FIRST, SECOND, THIRD], shares)["matrix"]
    moved = add_tasks(BASE, [FIRST, SECOND, THIRD], shares, 0.7)["matrix"]
    for i in range(7):
        for j in range(5):
            each = [float(m["matrix"][i, j]) for m in (FIRST, SECOND, THIRD)]
            start = float(BASE["matrix"][i, j])
            wanted = sum(s * v for s, v in zip(shares, each, strict=True))
            assert float(mean[i, j]) == pytest.approx(wanted, rel=1e-6)
            wanted = start + 0.7 * sum(s * (v - start) for s, v in zip(shares, each, strict=True))
            assert float(moved[i, j]) == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def test_ties_trims_elects_and_means_as_in_the_paper() -> None:
    """By hand, from a base of zeros: of five numbers the two largest are kept."""
    base = {"w": torch.zeros(5)}
    first, second = (
        {"w": torch.tensor(values)}
        for values in ([5.0, 4.0, 0.1, -0.2, 0.3], [-3.0, 2.0, 0.0, 0.5, -0.1])
    )
    merged = add_agreeing(base, [first, second], [0.5, 0.5], keep=0.4)["w"]
    # 5 and −3 disagree, the sum says +: 5 alone; 4 and 2 agree: 3; the rest is trimmed
    assert merged.tolist() == [5.0, 3.0, 0.0, 0.0, 0.0]


def test_slerp_keeps_to_the_circle() -> None:
    a, b = {"w": torch.tensor([3.0, 0.0])}, {"w": torch.tensor([0.0, 3.0])}
    for share in (0.25, 0.5, 0.9):
        merged = go_along_circle(a, b, share)["w"]
        angle = share * math.pi / 2
        assert merged.tolist() == pytest.approx([3 * math.cos(angle), 3 * math.sin(angle)])
    opposite = go_along_circle(a, {"w": torch.tensor([-3.0, 0.0])}, 0.5)["w"]
    assert opposite.tolist() == [0.0, 0.0]
