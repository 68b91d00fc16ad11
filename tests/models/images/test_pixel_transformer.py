"""Without a layer the transformer over pixels sees what stands beside and above, and no more."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fledge.images.pictures import PictureShape
from fledge.models.images.pixel_transformer import PixelTransformer
from tests.models.images.small_pictures import TRANSFORMER


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(4, 5), (4, 1), (1, 6), (2, 2)])
def test_it_is_told_the_numbers_beside_and_above(channels: int, height: int, width: int) -> None:
    """Each pair of places, by where they lie in the picture: the number before, and of the row
    above those of the same channel straight above and a pixel to either side. Where there is none
    to a side, it is the one that comes there in reading order.
    """
    torch.manual_seed(0)
    shape = PictureShape(channels, height, width, 3)
    model = PixelTransformer(shape, TRANSFORMER)
    model.layers = nn.ModuleList()
    nn.init.normal_(model.head.weight)
    numbers = torch.arange(shape.numbers)
    x = torch.zeros(1 + shape.numbers, shape.numbers, dtype=torch.long)
    x[1 + numbers, numbers] = 2
    logits = model.conditionals(x, None)
    sees = (logits[1:] - logits[:1]).abs().amax(2) > 1e-6  # [which was changed, where it shows]
    across = width * channels
    for of in range(shape.numbers):
        for at in range(shape.numbers):
            apart = at - of
            above = apart in (across - channels, across, across + channels)
            assert bool(sees[of, at]) == (apart >= 1 and (apart == 1 or above)), (of, at)
