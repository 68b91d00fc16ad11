"""What the token engine writes of a picture is what its prior says."""

from __future__ import annotations

import itertools

import torch

from fledge.images.pictures import PictureShape
from fledge.models.images.vq import VQ
from fledge.sample.drawn_pictures import draw_pictures, write_codes

SETTINGS = {
    "quantiser": "nearest", "codes": 3, "code_width": 2, "levels": [3], "halvings": 1,
    "channels": 4, "blocks": 0, "prior_layers": 1, "prior_width": 8, "prior_heads": 2,
}  # fmt: skip


def make_vq(names: tuple[str, ...]) -> VQ:
    torch.manual_seed(1)
    model = VQ(PictureShape(1, 1, 2, 2, names), SETTINGS).eval()
    with torch.no_grad():
        for weight in model.prior.parameters():
            weight.mul_(3)
    return model


@torch.no_grad()
def test_codes_that_the_engine_writes_follow_the_prior_of_their_label() -> None:
    """6,000 rows of 2 places and 3 codes for each label: chi-squared of 8 degrees is above 37.3
    by chance once in 10⁵.
    """
    model = make_vq(("a", "b"))
    assert model.places == 2
    every = torch.tensor(list(itertools.product(range(3), repeat=2)))
    tables = [model.prior.log_prob_of(every, torch.full((9,), label)).exp() for label in (0, 1)]
    assert float((tables[0] - tables[1]).abs().max()) > 0.02
    label = torch.arange(2).repeat(6000)
    codes = write_codes(model, label, torch.Generator().manual_seed(0))
    for own, p in enumerate(tables):
        counts = torch.bincount(codes[label == own] @ torch.tensor([3, 1]), minlength=9)
        assert float(((counts - 6000 * p) ** 2 / (6000 * p)).sum()) < 37.3


@torch.no_grad()
def test_pictures_are_drawn_with_and_without_labels_and_again_the_same() -> None:
    for names in ((), ("a", "b")):
        model = make_vq(names)
        first, again = (draw_pictures(model, 5, torch.Generator().manual_seed(3)) for _ in range(2))
        assert first.shape == (5, 1, 1, 2)
        assert torch.equal(first, again)
