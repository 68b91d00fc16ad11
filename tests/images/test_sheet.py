"""A sheet, opened by another library, shows the pictures where they should be."""

from __future__ import annotations

import io

import numpy as np
import torch

from fledge.images.png import encode_png
from fledge.images.sheet import encode_sheet


def open_png(content: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)))


def test_pixels_come_back_whatever_the_channels() -> None:
    random = np.random.default_rng(0)
    for channels in (1, 3, 4):
        pixels = random.integers(0, 256, (5, 7, channels), dtype=np.uint8)
        read = open_png(encode_png(pixels))
        assert np.array_equal(read.reshape(pixels.shape), pixels)


def test_pictures_lie_row_by_row_with_paper_between() -> None:
    x = torch.stack([torch.full((1, 32, 32), level) for level in range(3)]).to(torch.uint8)
    sheet = open_png(encode_sheet(x, 3, columns=2))
    assert sheet.shape == (67, 67)
    assert (sheet[1:33, 1:33] == 0).all()
    assert (sheet[1:33, 34:66] == 128).all()
    assert (sheet[34:66, 1:33] == 255).all()
    assert (sheet[33] == 255).all()


def test_small_pictures_are_enlarged_and_large_ones_are_not() -> None:
    small = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    assert open_png(encode_sheet(small, 17)).shape == (67, 67, 3)
    large = torch.zeros(1, 1, 40, 40, dtype=torch.uint8)
    assert open_png(encode_sheet(large, 2)).shape == (42, 42)
