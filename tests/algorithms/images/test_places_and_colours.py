"""Squares, frames and colours: what is asked about is what the answer says, and nothing else tells
it.
"""

from __future__ import annotations

import itertools

import pytest
import torch

from fledge.algorithms.images.arrow_of_time import turn_some
from fledge.algorithms.images.clips import choose_frames
from fledge.algorithms.images.colour_tracking import attend
from fledge.algorithms.images.colourisation import (
    BINS,
    COLOURS,
    middle_of_colours,
    number_colours,
    paint,
    to_chroma,
    weigh_colours,
)
from fledge.algorithms.images.frame_order import shuffle_frames
from fledge.algorithms.images.relative_position import SIDES, cut_squares, place_squares
from fledge.models.images.encoder import to_grey
from tests.algorithms.images.pretext_subjects import films, make, pictures
from tests.subjects import seeded


@pytest.mark.parametrize(("picture", "side"), [(24, 8), (16, 4), (8, 2), (9, 4)])
def test_squares_lie_on_the_side_that_is_asked_and_never_touch(picture: int, side: int) -> None:
    rows = place_squares(pictures(400, picture).rows, side, seeded(0))
    for corner in (rows.corner, rows.other):
        assert corner.min() >= 0
        assert corner.max() <= picture - side
    between = rows.other - rows.corner
    assert torch.equal(between.sign(), SIDES[rows.side])
    gap = (between.abs() - side)[between != 0]
    assert gap.min() >= 1
    assert gap.max() <= max(1, side // 4)
    assert torch.bincount(rows.side, minlength=8).min() > 20  # of 50 on each side


def test_squares_are_cut_where_they_lie() -> None:
    x = pictures(5).rows.x
    corner = torch.tensor([[0, 0], [3, 7], [12, 12], [1, 9], [8, 2]])
    cut = cut_squares(x, corner, 4)
    for b, (i, j) in enumerate(corner.tolist()):
        assert torch.equal(cut[b], x[b, :, i : i + 4, j : j + 4])


def test_where_a_square_lies_is_not_told_by_its_numbers_in_the_network() -> None:
    """Two squares of equal pixels are read alike, wherever they come from."""
    algorithm = make("relative_position")
    x = pictures(2).rows.x.clone()
    x[:, :, 8:16, 8:16] = x[:, :, 0:8, 0:8]
    read = algorithm.model.prepare(x)
    said = [
        algorithm.model.tokens(cut_squares(read, torch.tensor([[at, at]] * 2), 4)) for at in (0, 8)
    ]
    assert torch.equal(said[0], said[1])


def test_clips_are_evenly_spaced_and_anywhere() -> None:
    given = films(200, 7).rows
    given = given.replace(
        frames=torch.arange(7, dtype=torch.uint8).view(1, 7, 1, 1, 1).expand(200, 7, 1, 1, 1)
    )
    place = choose_frames(given, 3, seeded(0))[:, :, 0, 0, 0].long()
    assert set(map(tuple, place.tolist())) == {(0, 3, 6)}
    place = choose_frames(given, 4, seeded(0))[:, :, 0, 0, 0].long()
    assert set(map(tuple, place.tolist())) == {(0, 2, 4, 6)}
    place = choose_frames(given, 5, seeded(0))[:, :, 0, 0, 0].long()
    assert {row[0] for row in place.tolist()} == {0, 1, 2}


def test_an_order_and_its_reverse_are_one_answer() -> None:
    orders = make("frame_order").orders
    every = {tuple(order) for order in orders.tolist()}
    assert len(every) == 12
    assert not every & {order[::-1] for order in every}
    assert every | {order[::-1] for order in every} == set(itertools.permutations(range(4)))
    given = films(300, 4).rows
    given = given.replace(
        frames=torch.arange(4, dtype=torch.uint8).view(1, 4, 1, 1, 1).expand(300, 4, 1, 1, 1)
    )
    rows = shuffle_frames(given, orders, seeded(0))
    put = rows.x[:, :, 0, 0, 0].long()
    forward = (put == orders[rows.answer]).all(1)
    assert torch.equal(~forward, (put.flip(1) == orders[rows.answer]).all(1))
    assert 100 < int(forward.sum()) < 200
    assert torch.bincount(rows.answer, minlength=12).min() > 8


def test_what_is_turned_is_what_the_answer_says() -> None:
    given = films(100, 6).rows
    rows = turn_some(given, 3, seeded(0))
    plain = choose_frames(given, 3, seeded(0))
    for x, was, answer in zip(rows.x, plain, rows.answer.tolist(), strict=True):
        assert torch.equal(x, was.flip(0) if answer else was)
    assert 30 < int(rows.answer.sum()) < 70


def test_colours_come_back_from_grey_and_chroma() -> None:
    x = pictures(3).rows.x
    again = paint(to_grey(x.float() / 255), to_chroma(x, 256))
    assert (again.int() - x.int()).abs().max() <= 1
    middle = middle_of_colours()
    assert torch.equal(number_colours(middle.T[None, :, :, None])[0, :, 0], torch.arange(COLOURS))
    assert middle[COLOURS // 2].abs().max() < 1e-6  # grey is the middle of a colour
    assert len(middle) == BINS**2


def test_rare_colours_weigh_more_and_all_together_one_each() -> None:
    colour = torch.tensor([[[5] * 90 + [7] * 10]])
    weight = weigh_colours(colour)
    assert float(weight.mean()) == pytest.approx(1, abs=1e-6)
    rare, often = float(weight[0, 0, -1]), float(weight[0, 0, 0])
    share = 0.5 / COLOURS
    assert rare / often == pytest.approx((0.45 + share) / (0.05 + share), rel=1e-5)


def test_attention_copies_exactly_on_a_film_where_the_answer_is_known() -> None:
    """Six places with marks of their own move round by one a frame: what each copies is known."""
    marks = 60.0 * torch.eye(6)
    film = torch.stack([marks.roll(t, 0) for t in range(4)])[:, None]  # [T, 1, N, W]
    colour = torch.rand(1, 6, 2, generator=seeded(0))
    for t in range(1, 4):
        copied = attend(film[t], film[0]) @ colour
        torch.testing.assert_close(copied, colour.roll(t, 1), atol=0, rtol=0)
    assert not torch.equal(attend(film[1], film[0]) @ colour, colour)


def test_only_colours_that_were_there_before_are_asked_about() -> None:
    algorithm = make("colour_tracking", references=1)
    given = films(1, 2)
    frames = torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8)
    frames[:, 0, 0, :4, :4] = 200  # red in the first patch
    frames[:, 1, 0, :4, 4:8] = 200  # it moves
    frames[:, 1, 2, 12:, 12:] = 200  # blue is new
    rows = algorithm.follow(given.rows.replace(frames=frames), seeded(0))
    weight = rows.weight[0]
    assert weight[15] == 0
    assert weight[1] > weight[0] > 0  # red is rare, grey is not


def test_the_loss_is_the_attention_on_the_right_colour() -> None:
    """Beside a sum over pairs of patches, one by one."""
    algorithm, rows = make("colour_tracking"), films().rows
    asked = algorithm.follow(rows, seeded(5))
    known = algorithm.look(asked.x.flatten(0, 1)).view(7, 3, 16, -1).detach()
    algorithm.follow = lambda batch, generator: asked
    total, counted = 0.0, 0
    for b in range(7):
        for i in range(16):
            if asked.weight[b, i] == 0:
                continue
            counted += 1
            before = known[b, :2].flatten(0, 1)
            share = (before @ known[b, 2, i] / 4).softmax(0)  # √16
            same = asked.colour[b, :2].flatten() == asked.colour[b, 2, i]
            total -= float(asked.weight[b, i] * share[same].sum().log())
    assert counted > 50
    assert algorithm.update(rows)["loss"] == pytest.approx(total / counted, rel=1e-4)
