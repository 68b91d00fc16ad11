"""Changes by chance: each is what it is called, and drawn by the generator alone."""

from __future__ import annotations

import pytest
import torch

from fledge.images.augment import CHANGES, augment
from fledge.images.reading import read_pictures
from tests.subjects import seeded

X = read_pictures("digits").rows.x[:64]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_drawn_by_its_generator_and_keeps_the_levels(change: str) -> None:
    once, again = (augment(X, (change,), 17, seeded(3)) for _ in range(2))  # type: ignore[arg-type]
    assert torch.equal(once, again)
    assert once.shape == X.shape
    assert once.dtype == torch.uint8
    assert int(once.max()) < 17
    assert not torch.equal(once, X)


def test_a_shift_is_by_a_pixel_at_the_most_and_pads_with_level_0() -> None:
    shifted = augment(X, ("shift",), 17, seeded(0))
    framed = torch.nn.functional.pad(X, (1, 1, 1, 1))
    for one, frame in zip(shifted, framed, strict=True):
        windows = [frame[:, a : a + 8, b : b + 8] for a in range(3) for b in range(3)]
        assert any(torch.equal(one, window) for window in windows)


def test_a_mirror_mirrors_about_half() -> None:
    mirrored = augment(X, ("mirror",), 17, seeded(0))
    turned = (mirrored == X.flip(3)).all((1, 2, 3))
    assert ((mirrored == X).all((1, 2, 3)) | turned).all()
    assert 12 <= int(turned.sum()) <= 52  # 5 deviations about 32 of 64


def test_a_cutout_hides_a_square_and_nothing_else() -> None:
    full = torch.full((20, 1, 8, 8), 5, dtype=torch.uint8)
    cut = augment(full, ("cutout",), 17, seeded(0))
    assert ((cut == 0).sum((1, 2, 3)) == 4).all()
    rows, columns = (cut == 0).any(3).sum(2), (cut == 0).any(2).sum(2)
    assert (rows == 2).all()
    assert (columns == 2).all()


def test_a_crop_shows_a_part_of_at_least_half_the_side_in_place_of_the_whole() -> None:
    """Of a slope every crop is a slope, less steep by the share of the side that it keeps."""
    side = 32
    slope = (torch.arange(side) * 4).expand(200, 1, side, side).to(torch.uint8)
    for across in (slope, slope.transpose(2, 3)):
        seen = augment(across, ("crop",), 256, seeded(0)).float()
        if across is not slope:
            seen = seen.transpose(2, 3)
        # Inside, where no border is mixed in; rounded to a level.
        rise = (seen[:, 0, side // 2, -4] - seen[:, 0, side // 2, 3]) / (4 * (side - 7))
        assert 0.49 < float(rise.min()) < 0.6
        assert 0.9 < float(rise.max()) < 1.01
        assert (seen[:, 0, 3:-3] == seen[:, 0, 3:4]).all()
    begins = augment(slope, ("crop",), 256, seeded(0))[:, 0, 16, 3].float() / 4
    assert float(begins.min()) < 5  # from the edge to the middle
    assert float(begins.max()) > 15
