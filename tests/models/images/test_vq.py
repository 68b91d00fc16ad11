"""Codes of pictures: the nearest, the rounded, and a bound against the sum over all codes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.code_prior import CodePrior
from fledge.models.images.quantise import NearestCode, RoundedNumbers
from fledge.models.images.vq import VQ

SETTINGS: dict[str, Any] = {
    "quantiser": "nearest", "codes": 3, "code_width": 2, "levels": [3], "halvings": 1,
    "channels": 4, "blocks": 1, "prior_layers": 1, "prior_width": 8, "prior_heads": 2,
}  # fmt: skip


def make_vq(shape: PictureShape, **changes: Any) -> VQ:
    torch.manual_seed(3)
    model = VQ(shape, {**SETTINGS, **changes}).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
    return model


def every_code(places: int, codes: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(codes), repeat=places)))


@pytest.mark.parametrize("names", [(), ("a", "b")])
@pytest.mark.parametrize("quantiser", ["nearest", "rounded"])
def test_rate_and_distortion_are_a_bound_that_leaves_out_the_other_codes(
    names: tuple[str, ...], quantiser: str
) -> None:
    """−log Σ_c p(c) p(x | c) over all 3⁴ codes, the likelihood written out; and p(c) adds up to
    1.
    """
    model = make_vq(PictureShape(1, 4, 4, 2, names), quantiser=quantiser)
    assert model.places == 4
    codes = every_code(4, 3)
    x = (torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.5).to(torch.uint8)
    with torch.no_grad():
        prior = torch.zeros(len(codes), dtype=torch.float64)
        for label in range(len(names)) if names else [-1]:
            each = model.prior.log_prob_of(codes, torch.full((len(codes),), label))
            prior += each.double().exp() / max(1, len(names))
        assert float(prior.sum()) == pytest.approx(1, abs=1e-5)
        p = model.decode(codes).double().sigmoid().flatten(1)  # [N, 16]
        own = model.encode(x)
        nats = model.nats(Pictures(x, torch.zeros(5).long()), torch.Generator())
        for row, code, said in zip(x.flatten(1), own, nats, strict=True):
            like = torch.where(row == 1, p, 1 - p).prod(1)
            exact = -math.log(float((prior * like).sum()))
            place = int((codes == code).all(1).nonzero())
            assert float(said) == pytest.approx(-math.log(prior[place] * like[place]), abs=1e-4)
            assert float(said) > exact


def test_the_nearest_code_is_the_nearest() -> None:
    torch.manual_seed(0)
    quantiser, z = NearestCode(7, 3), torch.randn(50, 3)
    places, code = quantiser.read(z)
    assert torch.equal(places, torch.cdist(z, quantiser.codes).argmin(1))
    assert torch.equal(code, quantiser.codes[places])


def test_the_gradient_goes_straight_through_and_the_commitment_pulls_to_the_code() -> None:
    torch.manual_seed(0)
    quantiser, z = NearestCode(7, 3), torch.randn(50, 3, requires_grad=True)
    _, code, apart = quantiser.quantise(z)
    weight = torch.randn(50, 3)
    (straight,) = torch.autograd.grad((code * weight).sum(), z, retain_graph=True)
    (pull,) = torch.autograd.grad(apart.sum(), z)
    assert torch.equal(straight, weight)
    assert torch.allclose(pull, 2 * (z - quantiser.read(z)[1]), atol=1e-6)
    assert not quantiser.codes.requires_grad


def test_codes_are_the_running_means_of_what_chose_them() -> None:
    """By hand: features that stay are what codes come to, at 0.99 a step."""
    quantiser, generator = NearestCode(2, 1), torch.Generator().manual_seed(0)
    quantiser.begun.fill_(True)
    for name, value in (
        ("codes", [[-1.0], [1.0]]),
        ("uses", [4.0, 2.0]),
        ("sums", [[-4.0], [2.0]]),
    ):
        getattr(quantiser, name).copy_(torch.tensor(value))
    z = torch.tensor([[-3.0], [-2.0], [0.5], [2.5], [3.0], [-1.5]])
    assert quantiser.follow(z, 0.0, generator) == 0
    uses = [0.99 * 4 + 0.01 * 3, 0.99 * 2 + 0.01 * 3]
    sums = [0.99 * -4 + 0.01 * -6.5, 0.99 * 2 + 0.01 * 6]
    assert quantiser.uses.tolist() == pytest.approx(uses, rel=1e-6)
    expected = [s / u for s, u in zip(sums, uses, strict=True)]
    assert quantiser.codes.flatten().tolist() == pytest.approx(expected, rel=1e-4)


def test_a_code_that_nothing_chooses_begins_anew_at_a_feature() -> None:
    quantiser, generator = NearestCode(4, 2), torch.Generator().manual_seed(0)
    z = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
    assert quantiser.follow(z, 0.1, generator) == 4  # all of them, at features of the first step
    assert all((quantiser.codes[k] == z).all(1).any() for k in range(4))
    quantiser.codes[2] = 1000.0
    quantiser.sums[2] = 16_000.0
    restarted = [quantiser.follow(z, 0.1, generator) for _ in range(60)]
    # 0.99^41 · 1.5 is the first power under 1; and then it is near, and kept
    assert [place for place, number in enumerate(restarted) if number] == [40]
    assert float(quantiser.codes[2].norm()) < 10


@pytest.mark.parametrize("levels", [[3], [8, 5, 4], [2, 2, 7]])
def test_rounded_numbers_have_every_level_and_numbers_of_their_own(levels: list[int]) -> None:
    """A number far on either side and all between gives 0 … L−1; a code's number is that of its
    levels, in the order of `itertools`; 0 lies in the middle of a level.
    """
    quantiser = RoundedNumbers(levels)
    line = torch.linspace(-6, 6, 2001)
    for place, size in enumerate(levels):
        z = torch.zeros(len(line), len(levels))
        z[:, place] = line
        bounded = quantiser.bound(z)[:, place]
        assert sorted(set(bounded.round().tolist())) == list(range(size))
        assert float((bounded[1000] - bounded[1000].round()).abs()) < 1e-5
    values = [[2 * v / (size - 1) - 1 for v in range(size)] for size in levels]
    expected = torch.tensor([t[::-1] for t in itertools.product(*values[::-1])])
    assert torch.allclose(quantiser.look_up(torch.arange(math.prod(levels))), expected, atol=1e-6)
    z = torch.randn(300, len(levels), generator=torch.Generator().manual_seed(2)) * 2
    places, feature, _ = quantiser.quantise(z)
    assert torch.allclose(quantiser.look_up(places), feature, atol=1e-5)
    assert int(places.max()) < quantiser.size


def test_rounding_has_the_gradient_of_its_bound() -> None:
    quantiser = RoundedNumbers([5])
    z = torch.linspace(-2, 2, 9)[:, None].requires_grad_()
    (made,) = torch.autograd.grad(quantiser.quantise(z)[1].sum(), z)
    expected = (1 - torch.tanh(z) ** 2) * 2 * 1.001 * 2 / 4
    assert torch.allclose(made, expected, atol=1e-5)


def test_what_is_drawn_follows_the_prior() -> None:
    """4,000 rows of 2 places and 3 codes against the 9 probabilities: chi-squared of 8 degrees is
    above 37.3 by chance once in 10⁵.
    """
    torch.manual_seed(1)
    prior = CodePrior(3, 2, 2, 1, 8, 2).eval()
    with torch.no_grad():
        for weight in prior.parameters():
            weight.mul_(3)
        codes = every_code(2, 3)
        p = prior.log_prob_of(codes, torch.ones(9).long()).exp()
        drawn = prior.draw(torch.ones(4000).long(), torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9)
    assert float(((counts - 4000 * p) ** 2 / (4000 * p)).sum()) < 37.3
    assert float(p.max() / p.min()) > 2


@pytest.mark.parametrize("shape", [PictureShape(1, 8, 8, 17), PictureShape(3, 7, 6, 256)])
def test_what_is_drawn_has_the_shape_and_levels_of_the_data(shape: PictureShape) -> None:
    model = make_vq(shape)
    with torch.no_grad():
        drawn = model.sample(5, torch.Generator().manual_seed(0))
    assert drawn.shape == (5, *shape.size)
    assert int(drawn.max()) < shape.levels
    assert model.reconstruct(drawn).shape == drawn.shape
