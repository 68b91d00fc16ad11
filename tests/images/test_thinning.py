"""Thinning: known skeletons, the paper's rule read a second time pixel by pixel, and the topology
that must not change.
"""

from __future__ import annotations

import numpy as np
import pytest

from fledge.images.thinning import thin

ndimage = pytest.importorskip("scipy.ndimage")


def test_a_thick_bar_becomes_its_middle_line() -> None:
    ink = np.zeros((11, 41), bool)
    ink[3:8, 4:37] = True
    rows, columns = np.nonzero(thin(ink))
    assert set(rows[(columns > 7) & (columns < 33)]) == {5}
    inner = columns[(columns > 7) & (columns < 33)]
    assert sorted(inner) == list(range(8, 33))


def test_a_line_of_one_pixel_stays() -> None:
    ink = np.zeros((9, 9), bool)
    ink[np.arange(1, 8), np.arange(1, 8)] = True
    assert (thin(ink) == ink).all()


def thin_by_hand(ink: np.ndarray) -> np.ndarray:
    """Guo & Hall (1989), A1, as printed: p1 is the pixel, p2 … p9 clockwise from the north."""
    ink = np.pad(ink, 1).astype(int)
    while True:
        before = ink.copy()
        for turn in (1, 2):
            gone: list[tuple[int, int]] = []
            for r, c in np.argwhere(ink):
                p2, p3, p4 = ink[r - 1, c], ink[r - 1, c + 1], ink[r, c + 1]
                p5, p6, p7 = ink[r + 1, c + 1], ink[r + 1, c], ink[r + 1, c - 1]
                p8, p9 = ink[r, c - 1], ink[r - 1, c - 1]
                cuts = (
                    (1 - p2) * (p3 | p4)
                    + (1 - p4) * (p5 | p6)
                    + (1 - p6) * (p7 | p8)
                    + (1 - p8) * (p9 | p2)
                )
                n1 = (p9 | p2) + (p3 | p4) + (p5 | p6) + (p7 | p8)
                n2 = (p2 | p3) + (p4 | p5) + (p6 | p7) + (p8 | p9)
                if turn == 1:
                    m = (p2 | p3 | (1 - p5)) & p4
                else:
                    m = (p6 | p7 | (1 - p9)) & p8
                if cuts == 1 and 2 <= min(n1, n2) <= 3 and m == 0:
                    gone.append((r, c))
            for r, c in gone:
                ink[r, c] = 0
        if (before == ink).all():
            return ink[1:-1, 1:-1].astype(bool)


def draw_blobs(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random((24, 24))
    return ndimage.gaussian_filter(noise, 1.2) > 0.5


def test_it_is_the_papers_rule_and_several_go_side_by_side() -> None:
    blobs = np.stack([draw_blobs(seed) for seed in range(6)])
    expected = np.stack([thin_by_hand(each) for each in blobs])
    assert (thin(blobs) == expected).all()


@pytest.mark.parametrize("seed", range(8))
def test_pieces_and_holes_are_as_many_as_before(seed: int) -> None:
    ink = draw_blobs(seed + 100)
    thinned = thin(ink)
    eight = np.ones((3, 3))
    assert ndimage.label(thinned, eight)[1] == ndimage.label(ink, eight)[1]
    holes = [ndimage.label(np.pad(~each, 1, constant_values=True))[1] for each in (ink, thinned)]
    assert holes[0] == holes[1]
    assert thinned.sum() < ink.sum()
    assert not (thinned & ~ink).any()
