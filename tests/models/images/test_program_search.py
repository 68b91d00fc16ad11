"""Pictures of known strokes are read as those strokes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from fledge.images.ink import BLURS, NOISES, draw_ink, render
from fledge.images.skeleton import trace
from fledge.images.thinning import thin
from fledge.models.images.program_search import (
    HELD,
    measure_turn,
    read_picture,
    walk_at_random,
)
from fledge.models.images.programs import make_even_prior
from tests.models.images.programs import letter_t, line, random_prior


def picture(*paths: np.ndarray) -> np.ndarray:
    return draw_ink([torch.from_numpy(path).float() for path in paths]).numpy() > 0


def farthest(path: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(path[:, None] - other, axis=2).min(1).max())


def test_a_t_is_a_bar_and_a_stem() -> None:
    bar, stem = letter_t().draw()
    readings = read_picture(
        picture(bar, stem), make_even_prior(4), np.random.default_rng(0), count=3
    )
    strokes = min((reading.paths for reading in readings), key=len)
    assert len(strokes) == 2
    wide = max(strokes, key=lambda path: float(np.ptp(path[:, 0])))
    tall = max(strokes, key=lambda path: float(np.ptp(path[:, 1])))
    assert farthest(wide, bar) < 3
    assert farthest(bar, wide) < 5  # thinning takes half a pen from each end
    assert farthest(tall, stem) < 3
    assert farthest(stem, tall) < 5


def test_a_pen_goes_straight_on_at_a_crossing() -> None:
    one, other = line((20, 20), (80, 80)), line((80, 20), (20, 80))
    skeleton = trace(thin(picture(one, other)))
    random = np.random.default_rng(0)
    walks = [walk_at_random(skeleton, random) for _ in range(50)]
    assert np.mean([len(walk) == 2 for walk in walks]) > 0.5
    for walk in walks:
        drawn = sorted(step[0] for stroke in walk for step in stroke)
        assert drawn == list(range(len(skeleton.lines)))  # each line, once


def test_what_is_read_covers_the_ink_and_no_more() -> None:
    angle = np.linspace(0, 1.8 * np.pi, 120)
    ring = 50 + 25 * np.stack([np.cos(angle), np.sin(angle)], 1)
    ink = picture(ring, line((50, 50), (58, 50)), line((15, 15), (15, 15)))
    [reading] = read_picture(ink, make_even_prior(4), np.random.default_rng(0))
    again = picture(*reading.program.draw())
    rows, columns = np.nonzero(ink)
    drawn = np.argwhere(again)
    for points, others in ((np.stack([rows, columns], 1), drawn), (drawn, np.argwhere(ink))):
        apart = np.linalg.norm(points[:, None] - others, axis=2).min(1)
        assert np.mean(apart <= 2) > 0.97


def test_what_is_kept_explains_the_ink_best_of_what_the_prior_likes() -> None:
    """A ring that a line crosses: walks cut it into programs that fit unlike well. The joint
    probability orders them, of the prior's own and of the ink's by numpy.
    """
    angle = np.linspace(0, 2 * np.pi, 160)
    ring = 50 + 25 * np.stack([np.cos(angle), np.sin(angle)], 1)
    ink, prior = picture(ring, line((10, 50), (90, 50))), random_prior(3, 4)
    readings = read_picture(ink, prior, np.random.default_rng(0), count=HELD)
    assert len(readings) > 3
    said = prior.log_prob([reading.program for reading in readings])
    for reading, log_prob in zip(readings, said, strict=True):
        assert reading.log_prob == pytest.approx(log_prob)
        likelihoods: list[float] = []
        for blur, noise in itertools.product(BLURS, NOISES):
            paths = [torch.from_numpy(path).float() for path in reading.program.draw()]
            black = render(paths, blur, noise).double().numpy()
            likelihoods.append(float(np.log(np.where(ink, black, 1 - black)).sum()))
        assert reading.log_likelihood == pytest.approx(max(likelihoods), abs=0.05)
    joint = [reading.log_prob + reading.log_likelihood for reading in readings]
    assert joint == sorted(joint, reverse=True)
    assert np.argmax(said) != 0  # or the ink would not have told
    [best] = read_picture(ink, prior, np.random.default_rng(0))
    assert best.log_joint == pytest.approx(joint[0])


def test_turns_are_angles() -> None:
    assert measure_turn(np.array([1.0, 0]), line((0, 0), (9, 0))) == 0
    right = measure_turn(np.array([1.0, 0]), line((0, 0), (0, 9)))
    assert abs(right - np.pi / 2) < 1e-6
