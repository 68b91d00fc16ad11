"""The classifier of good and plain text: its features and its steps by hand, and planted kinds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fledge.curate.quality import BITS, FILE, RATE, QualityModel, find_buckets, fit_line
from fledge.errors import UserError
from tests.curate.texts import write_text


def test_features_are_the_words_and_the_pairs_within_each_text() -> None:
    buckets, borders = find_buckets(["One two two.", "", "one TWO"])
    assert borders.tolist() == [0, 5, 5, 8]
    one, two, again, one_two, two_two = buckets[:5].tolist()
    assert two == again
    assert len({one, two, one_two, two_two}) == 4
    assert buckets[5:].tolist() == [one, two, one_two]
    assert (buckets < 1 << BITS).all()


def test_a_first_step_of_adagrad_by_hand() -> None:
    """From zeros every weight's first step is the rate, towards its kind, however rare it is; a
    second one of the same text goes by Σ g² of both gradients.
    """
    model = QualityModel()
    model.learn(["up up down"], [True], [1.0])
    [up, _, down, *_], _ = find_buckets(["up up down"])
    assert model.weights[[up, down]] == pytest.approx(RATE)
    assert model.bias == pytest.approx(RATE)
    first = -0.5  # of the bias: p − 1
    second = 1 / (1 + math.exp(-2 * RATE)) - 1  # the mean of the weights is the rate, and the bias
    model.learn(["up up down"], [True], [1.0])
    assert model.bias == pytest.approx(RATE - RATE * second / math.hypot(first, second))
    ratio = RATE * second / math.hypot(first, second)  # a share of each gradient, so it cancels
    assert model.weights[down] == pytest.approx(RATE - ratio, rel=1e-6)


def test_what_a_text_weighs_counts() -> None:
    """A text of weight 0 teaches nothing of its words."""
    model = QualityModel()
    model.learn(["left", "right"], [True, False], [1.0, 0.0])
    assert model.measure(["left"])[0] > model.measure(["right"])[0]
    [right], _ = find_buckets(["right"])
    assert model.weights[right] == 0


def test_a_text_without_words_is_the_bias() -> None:
    model = QualityModel()
    model.learn(["word", ""], [True, True], [1.0, 1.0])
    assert model.measure(["...", "", "word"])[:2] == pytest.approx(model.bias)
    assert model.measure(["word"])[0] > model.bias


def test_the_line_is_the_likeliest_by_a_grid() -> None:
    """Logits that are three times too sharp and off by one; a side with three times the texts
    counts as much as the other.
    """
    random = np.random.default_rng(0)
    true = random.normal(0, 1, 4000)
    good = random.random(4000) < 1 / (1 + np.exp(-true))
    chosen = good | (random.random(4000) < 1 / 3)
    logits, good = (3 * true + 1)[chosen], good[chosen]
    slope, shift = fit_line(logits, good)
    numbers = np.array([np.sum(~good), np.sum(good)])
    target = np.where(good, (numbers[1] + 1) / (numbers[1] + 2), 1 / (numbers[0] + 2))
    weight = (1 / numbers)[good.astype(int)]

    def loss(a: float, b: float) -> float:
        z = a * logits + b
        return float(np.sum(weight * (np.logaddexp(0, z) - target * z)))

    around = [(slope + x, shift + y) for x in (-0.01, 0, 0.01) for y in (-0.01, 0, 0.01)]
    assert min(around, key=lambda line: loss(*line)) == (slope, shift)
    assert 0.25 < slope < 0.42  # 1/3; a standard error is 0.015


def test_sides_that_no_logit_confuses_have_a_line() -> None:
    slope, shift = fit_line(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]))
    assert math.isfinite(slope)
    assert slope > 0
    assert abs(shift) < 1e-6


def test_planted_words_are_learned_and_go_through_a_file(tmp_path: Path) -> None:
    """One word in thirty tells the kinds apart; 40 texts of each are learned, 40 others judged: of
    80 coins 60 or more fall rightly less than once in 10⁵ times.
    """
    model = QualityModel()

    def write(seed: int, good: bool) -> str:
        return write_text(seed, 60) + (" lucid prose" if good else " buy cheap")

    for _ in range(3):
        for seed in range(40):
            model.learn([write(2 * seed, True), write(2 * seed + 1, False)], [True, False], [1, 1])
    others = [(write(1000 + seed, bool(seed % 2)), bool(seed % 2)) for seed in range(80)]
    logits = model.measure([text for text, _ in others])
    good = np.array([kind for _, kind in others])
    assert np.sum((logits > np.median(logits)) == good) >= 60
    model.mend(logits, good)
    model.save(tmp_path)
    again = QualityModel.load(tmp_path)
    assert [again.score(text) for text, _ in others] == [model.score(text) for text, _ in others]
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:1000])
    with pytest.raises(UserError, match="is damaged"):
        QualityModel.load(tmp_path)
