"""Two levels out of many: by chance, and yet the same everywhere."""

from __future__ import annotations

import math

import torch

from fledge.images.binarise import binarise
from fledge.images.pictures import make_set
from fledge.images.reading import read_pictures


def test_the_draw_of_a_picture_is_its_own() -> None:
    given = read_pictures("digits")
    whole = binarise(given, "hash")
    some = binarise(given.take(torch.tensor([900, 3])), "hash")
    assert torch.equal(some.rows.x, whole.rows.x[[900, 3]])
    assert whole.shape.levels == 2


def test_a_pixel_is_one_as_often_as_it_is_bright() -> None:
    """Of N pictures that differ in one pixel and are all of one grey elsewhere, each pixel is 1
    with that grey as its probability; false alarm below 1e-4 for 4.2 deviations in each of 3.
    """
    N, levels = 4000, 17
    for grey in (4, 8, 13):
        x = torch.full((N, 1, 4, 4), grey, dtype=torch.uint8)
        for place in range(4):  # a number in base 17, so that every picture is another
            x[:, 0, 0, place] = torch.arange(N) // 17**place % 17
        drawn = binarise(make_set(x, None, levels, (), "x"), "hash").rows.x[:, 0, 1:].float()
        share, wanted = float(drawn.mean()), grey / 16
        assert abs(share - wanted) < 4.2 * math.sqrt(wanted * (1 - wanted) / drawn.numel())


def test_threshold_and_extremes() -> None:
    x = torch.tensor([[[[0, 8, 9, 16]]]], dtype=torch.uint8)
    given = make_set(x, None, 17, (), "x")
    assert binarise(given, "threshold").rows.x.flatten().tolist() == [0, 0, 1, 1]
    drawn = binarise(given, "hash").rows.x.flatten().tolist()
    assert (drawn[0], drawn[3]) == (0, 1)
    assert binarise(given, "none") is given
