"""A palette is the means of colours that are far apart, and a transformer draws in it."""

from __future__ import annotations

import pytest
import torch

from fledge.images.pictures import PictureShape
from fledge.models.images.palette import learn_palette, nearest
from fledge.models.images.pixel_transformer import PixelTransformer
from tests.models.images.small_pictures import TRANSFORMER


def some_pixels(count: int) -> torch.Tensor:
    """Around five colours, far from each other."""
    random = torch.Generator().manual_seed(0)
    centre = torch.tensor([[10, 10, 10], [240, 20, 20], [20, 240, 20], [20, 20, 240], [200] * 3])
    noise = 4 * torch.randn(count, 3, generator=random)
    return (centre[torch.arange(count) % 5] + noise).round().clamp(0, 255)


def test_of_colours_far_apart_it_is_their_means() -> None:
    pixels = some_pixels(500)
    palette = learn_palette(pixels, 5, torch.Generator().manual_seed(2))
    wanted = torch.stack([pixels[n::5].mean(0) for n in range(5)]).round()
    assert sorted(map(tuple, palette.tolist())) == sorted(map(tuple, wanted.tolist()))


def test_of_few_colours_each_is_one() -> None:
    pixels = some_pixels(500)[:6].repeat(20, 1)
    palette = learn_palette(pixels, 8, torch.Generator().manual_seed(0))
    assert torch.equal(palette[nearest(pixels, palette)], pixels)


def test_a_transformer_over_colours() -> None:
    """Whose probabilities of all rows of colours are 1 together, and which draws no other."""
    shape = PictureShape(3, 1, 3, 256)
    model = PixelTransformer(shape, {**TRANSFORMER, "palette": 4}).eval()
    x = some_pixels(90)[:, :, None, None].to(torch.uint8).view(30, 1, 3, 3).permute(0, 3, 1, 2)
    model.learn_palette(x, torch.Generator().manual_seed(2))
    assert (model.length, model.values) == (3, 4)
    row = model.to_row(x)
    assert row.shape == (30, 3)
    again = model.to_pictures(row)
    assert torch.equal(model.to_row(again), row)
    every = torch.cartesian_prod(*[torch.arange(4)] * 3)
    with torch.no_grad():
        assert float((-model.nats_of(every, None).double()).exp().sum()) == pytest.approx(1)
    drawn = model.sample(20, torch.Generator().manual_seed(0))
    assert model.palette is not None
    colours = {tuple(colour) for colour in model.palette.tolist()}
    assert {tuple(p) for p in drawn.permute(0, 2, 3, 1).flatten(0, 2).tolist()} <= colours
    assert "palette of 4 colours" in model.remark
    assert not PixelTransformer(PictureShape(1, 2, 2, 256), TRANSFORMER).remark
