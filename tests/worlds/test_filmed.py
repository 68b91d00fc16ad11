"""Films of our own worlds show what was done: read back from their pixels by other means."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.images.films import FilmSet
from fledge.images.pictures import PictureShape
from fledge.models.images.encoder import to_grey
from fledge.worlds.filmed import (
    CELL,
    CELLS,
    FARTHEST,
    GOAL_COLOUR,
    WALKER_COLOUR,
    WALL_COLOUR,
    colour_by_direction,
    film_cartpole,
    film_digits,
    film_gridworld,
    film_world,
)

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


@pytest.fixture(scope="module")
def mazes() -> FilmSet:
    return film_gridworld(12, 8, 3)


def cells_with(frame: Tensor, colour: tuple[int, int, int]) -> set[tuple[int, int]]:
    """[3, H, W] -> the cells in which any pixel has the colour."""
    same = (frame == torch.tensor(colour).view(3, 1, 1)).all(0)
    cells = same.view(CELLS, CELL, CELLS, CELL).any(3).any(1)
    return {(i, j) for i in range(CELLS) for j in range(CELLS) if cells[i, j]}


def walk(start: tuple[int, int], walls: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Steps from `start`, breadth first."""
    far, queue = {start: 0}, deque([start])
    while queue:
        i, j = queue.popleft()
        for down, right in MOVES:
            place = i + down, j + right
            inside = 0 <= place[0] < CELLS and 0 <= place[1] < CELLS
            if inside and place not in walls and place not in far:
                far[place] = far[i, j] + 1
                queue.append(place)
    return far


def test_the_walker_moves_as_it_was_told_and_labels_are_its_distance(mazes: FilmSet) -> None:
    moved = 0
    for film, actions, labels in zip(
        mazes.rows.frames, mazes.rows.action, mazes.rows.label, strict=True
    ):
        goal, walls = cells_with(film[0], GOAL_COLOUR).pop(), cells_with(film[0], WALL_COLOUR)
        far, place = walk(goal, walls), cells_with(film[0], WALKER_COLOUR).pop()
        for t in range(len(film)):
            assert cells_with(film[t], WALKER_COLOUR) == {place}
            assert labels[t] == min(far[place], FARTHEST)
            if t == len(actions):
                break
            down, right = MOVES[actions[t]]
            told = place[0] + down, place[1] + right
            inside = 0 <= told[0] < CELLS and 0 <= told[1] < CELLS
            if place != goal and inside and told not in walls:
                place, moved = told, moved + 1
    assert moved > 40  # of 84 steps


def test_the_walker_mostly_comes_nearer(mazes: FilmSet) -> None:
    label = mazes.rows.label
    nearer, farther = (label[:, 1:] < label[:, :-1]).sum(), (label[:, 1:] > label[:, :-1]).sum()
    assert nearer > 2 * farther


def test_poles_lean_as_their_labels_say_and_fall() -> None:
    given = film_cartpole(40, 8, 1)
    top = given.rows.frames[:, :, 0, :12].float()  # of a pole, no cart reaches so high
    column = torch.arange(24.0)
    middle = (top.sum(2) * column).sum(2) / top.sum((2, 3)).clamp(min=1)
    box = given.rows.frames[:, :, 0, 20:22].float().sum(2)
    cart = (box * column).sum(2) / box.sum(2)
    lean = (middle - cart)[top.sum((2, 3)) > 200]
    label = given.rows.label[top.sum((2, 3)) > 200]
    means = [float(lean[label == n].mean()) for n in range(5)]
    assert means == sorted(means)
    assert means[0] < -1.5
    assert means[4] > 1.5
    off = (given.rows.label - 2).abs()
    assert off[:, -1].float().mean() > off[:, 0].float().mean() + 0.3


def test_a_picture_that_is_turned_has_the_opposite_hue() -> None:
    """A direction counts twice, and 2 · 90° is 180°; grey stays grey."""
    x = torch.rand(5, 1, 10, 10, generator=torch.Generator().manual_seed(0)) * 0.6
    flat, turned = (colour_by_direction(each).float() for each in (x, x.rot90(1, (2, 3))))
    back = turned.rot90(-1, (2, 3))
    grey = to_grey(flat)
    assert ((flat - grey) + (back - to_grey(back))).abs().max() <= 2  # in levels, by rounding
    assert (flat - grey).abs().max() > 20


def test_colour_says_nothing_that_grey_does_not() -> None:
    x = torch.rand(5, 1, 10, 10, generator=torch.Generator().manual_seed(1)) * 0.7
    grey = to_grey(colour_by_direction(x).float())
    assert (grey - 0.65 * 255 * x).abs().max() < 4  # rounding, and blue that is cut off at 0


def test_a_digit_drifts_and_is_not_changed() -> None:
    given = film_digits(20, 6, 0)
    ink = given.rows.frames.float().sum((2, 3, 4))
    assert torch.equal(ink, ink[:, :1].expand_as(ink))
    first, second = given.rows.frames[:, 0].flatten(1), given.rows.frames[:, 1].flatten(1)
    assert ((first != second).any(1)).all()


@pytest.mark.parametrize("film", [film_gridworld, film_cartpole, film_digits])
def test_films_follow_from_the_seed(film) -> None:
    one, again, other = film(4, 4, 0), film(4, 4, 0), film(4, 4, 1)
    assert torch.equal(one.rows.frames, again.rows.frames)
    assert not torch.equal(one.rows.frames, other.rows.frames)
    C = one.rows.frames.shape[2]
    assert one.shape == PictureShape(C, 24, 24, 256, one.shape.names)


def test_unknown_films_are_named() -> None:
    with pytest.raises(UserError, match=r"no films film:Pong: give film:gridworld"):
        film_world("film:Pong")
