"""Ink: sums by hand, gradients by finite differences, and lines as wide as Omniglot's."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from fledge.images import ink
from fledge.images.ink import (
    blacken,
    draw_ink,
    expect_ink,
    explain_ink,
    log_likelihood,
    render,
    space_beads,
)


def test_expected_ink_is_the_sum_over_beads_by_hand() -> None:
    beads = torch.tensor([[2.0, 3.5], [6.2, 1.0]], dtype=torch.float64)
    lengths = torch.tensor([1.0, 0.5], dtype=torch.float64)
    expected = expect_ink(beads, lengths, blur=1.3, side=8)
    for row, column in itertools.product(range(8), range(8)):
        by_hand = 0.0
        for (x, y), length in zip(beads.tolist(), lengths.tolist(), strict=True):
            square = (column - x) ** 2 + (row - y) ** 2
            by_hand += ink.INK * length * math.exp(-square / (2 * 1.69)) / (2 * math.pi * 1.69)
        assert float(expected[row, column]) == pytest.approx(by_hand, rel=1e-12)


def test_as_much_ink_is_laid_as_the_stroke_is_long() -> None:
    beads, lengths = space_beads(torch.tensor([[30.0, 40.0], [60.0, 80.0]]))
    assert float(lengths.sum()) == pytest.approx(50)
    assert float(expect_ink(beads, lengths).sum()) == pytest.approx(50 * ink.INK, rel=1e-4)


def test_the_gradient_is_that_of_finite_differences() -> None:
    picture = (torch.arange(64).view(8, 8) % 3 == 0).to(torch.uint8)
    lengths = torch.ones(3, dtype=torch.float64)

    def likelihood(beads: torch.Tensor) -> torch.Tensor:
        return log_likelihood(picture, blacken(expect_ink(beads, lengths, side=8)))

    beads = torch.tensor([[2.0, 3.0], [3.1, 3.4], [4.4, 4.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(likelihood, beads.requires_grad_())


def test_black_is_a_drop_or_noise() -> None:
    expected = torch.tensor([0.0, math.log(2), 0.3, math.inf], dtype=torch.float64)
    drop = 1 - math.exp(-0.3)
    by_hand = [0.02, 0.5, 0.98 * drop + 0.02 * (1 - drop), 0.98]  # by chance the other one
    assert blacken(expected, noise=0.02).tolist() == pytest.approx(by_hand, rel=1e-12)


def test_all_pictures_together_have_probability_one() -> None:
    black = blacken(torch.tensor([[0.1, 2.0], [0.7, 0.0]], dtype=torch.float64))
    total = sum(
        math.exp(float(log_likelihood(torch.tensor(bits).view(2, 2), black)))
        for bits in itertools.product((0, 1), repeat=4)
    )
    assert total == pytest.approx(1, abs=1e-12)


def test_lines_are_as_wide_as_omniglots() -> None:
    picture = draw_ink([torch.tensor([[20.0, 50.0], [80.0, 50.0]])])
    assert 4 <= int(picture[:, 50].sum()) <= 5
    assert int(draw_ink([torch.tensor([[50.0, 50.0]])]).sum()) > 4  # a dot is seen


def test_a_stroke_explains_its_own_picture_best() -> None:
    line = torch.tensor([[20.0, 30.0], [80.0, 60.0]])
    picture = draw_ink([line])
    best = log_likelihood(picture, render([line]))
    for moved in (line + 2, line * 0.95, line[:, [1, 0]]):
        assert log_likelihood(picture, render([moved])) < best - 10


def test_blur_and_noise_are_those_that_fit_the_picture() -> None:
    """Drawn four times with one pair of them, 11,025 pixels are likeliest under it, and as likely
    as it says; the next noise is 37 nats away on average, with a deviation of 7: a false alarm in
    10⁷.
    """
    strokes = [torch.tensor([[20.0, 30.0], [80.0, 60.0]]), torch.tensor([[50.0, 80.0]])]
    random = torch.Generator().manual_seed(0)
    for blur, noise in ((1.0, 1e-3), (2.25, 3e-2)):
        black = render(strokes, blur, noise)
        drawn = torch.rand(4, *black.shape, generator=random) < black
        pictures = [one.to(torch.uint8) for one in drawn]
        under = {
            (b, n): [float(log_likelihood(one, render(strokes, b, n))) for one in pictures]
            for b in ink.BLURS
            for n in ink.NOISES
        }
        for number, one in enumerate(pictures):
            most = max(each[number] for each in under.values())
            assert explain_ink(one, strokes) == pytest.approx(most, abs=1e-3)
        own = sum(under.pop((blur, noise)))
        assert own > max(map(sum, under.values()))
