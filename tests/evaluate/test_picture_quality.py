"""Distances between sets of pictures, each beside a closed form, an independent library or sets
that were made to differ in a known way.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fledge.evaluate.frechet import frechet_distance, frechet_of_moments
from fledge.evaluate.manifolds import measure_radii, precision_and_recall
from fledge.evaluate.nearest_pictures import compare_distances, find_nearest, smallest_distance
from fledge.evaluate.picture_encoder import embed, halve, make_encoder
from fledge.evaluate.picture_quality import Yardstick, judge_samples
from fledge.evaluate.two_samples import chance_interval, tell_apart
from fledge.images.digits import load_digits
from fledge.images.pictures import UNKNOWN, PictureSet, digest_of, make_set
from tests.subjects import seeded


def draw(rows: int, columns: int, seed: int, at: float = 0.0) -> Tensor:
    return at + torch.randn(rows, columns, generator=seeded(seed), dtype=torch.float64)


def test_frechet_of_normals_side_by_side_is_the_sum_over_their_axes() -> None:
    """Of diagonal covariances: Σ (μ − m)² + (σ − s)²."""
    mean, other = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.0, 1.0, 0.5]).double()
    sd, spread = torch.tensor([1.0, 2.0, 0.3]).double(), torch.tensor([2.0, 0.5, 0.3]).double()
    exact = float(((mean - other) ** 2 + (sd - spread) ** 2).sum())
    measured = frechet_of_moments(mean, torch.diag(sd**2), other, torch.diag(spread**2))
    assert measured == pytest.approx(exact, rel=1e-12)


def test_frechet_is_that_of_scipys_matrix_root() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    a, b = draw(50, 6, 1), draw(80, 6, 2, at=0.3) @ draw(6, 6, 3)
    first, second = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = linalg.sqrtm(first @ second)
    exact = float(((a.mean(0) - b.mean(0)) ** 2).sum()) + np.trace(first + second - 2 * root.real)
    assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-9)


def test_frechet_of_fewer_points_than_features_is_a_number_and_of_itself_zero() -> None:
    a = draw(5, 12, 4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert math.isfinite(frechet_distance(a, draw(7, 12, 5)))


def test_radii_are_those_of_sorted_distances() -> None:
    x = draw(40, 3, 6)
    apart = (x[:, None] - x[None]).square().sum(2).sqrt().sort(1).values  # the first is itself
    torch.testing.assert_close(measure_radii(x, 3), apart[:, 3], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("real", "drawn", "precision", "recall"),
    [
        ([0, 1], [0], 1.0, 0.5),  # one of two modes
        ([0], [0, 1], 0.5, 1.0),  # one that there is, and one that there is not
        ([0, 1], [2, 3], 0.0, 0.0),
        ([0, 1], [1, 0], 1.0, 1.0),
    ],
)
def test_precision_and_recall_of_planted_modes(
    real: list[int], drawn: list[int], precision: float, recall: float
) -> None:
    """Modes lie 1000 apart, each a tight grid of points, so that no ball reaches to another; drawn
    points lie between the real ones of their mode.
    """
    grid = torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0)).double()

    def place(modes: list[int], shift: float) -> Tensor:
        return torch.cat([grid + 1000 * mode + shift for mode in modes])

    made = precision_and_recall(place(real, 0.0), place(drawn, 0.1))
    assert made == pytest.approx((precision, recall))


@pytest.mark.parametrize("number", [1, 2, 10, 77])
def test_the_chance_interval_is_the_binomials(number: int) -> None:
    low, high = chance_interval(number)
    tail = sum(math.comb(number, n) for n in range(math.floor(high * number + 0.5) + 1, number + 1))
    wider = tail + math.comb(number, round(high * number))
    assert tail / 2**number <= 0.025 < wider / 2**number
    assert low == pytest.approx(1 - high)


def test_equal_sets_are_told_apart_by_chance_alone() -> None:
    """Five tests of 200 tested points each: 1,000 throws of a fair coin, whose mean is beyond 4.5
    standard deviations once in 150,000.
    """
    right = [
        tell_apart(draw(200, 3, 100 + n), draw(200, 3, 900 + n), seed=n).accuracy for n in range(5)
    ]
    assert abs(np.mean(right) - 0.5) < 4.5 * 0.5 / math.sqrt(1000)


def test_different_sets_are_told_apart() -> None:
    """Two normals 4 deviations apart: the best classifier is right Φ(2) = 97.7 % of the time."""
    apart = tell_apart(draw(400, 2, 1), draw(400, 2, 2) + torch.tensor([4.0, 0.0]))
    assert apart.accuracy > 0.94
    assert apart.differ
    assert apart.tested == 400
    ring = draw(400, 2, 3)
    ring = 2 * ring / ring.norm(dim=1, keepdim=True)
    assert tell_apart(ring, draw(400, 2, 4)).accuracy > 0.8  # no line tells these apart


def test_copies_are_at_no_distance_and_noise_is_far() -> None:
    digits = load_digits()
    train, held_out = digits.take(slice(0, 300)), digits.take(slice(300, 400))
    real = find_nearest(held_out.rows.x, train.rows.x, 17)
    copies = find_nearest(train.rows.x[40:60], train.rows.x, 17)
    assert copies.place.tolist() == list(range(40, 60))
    smallest = smallest_distance(64, 17)
    assert compare_distances(copies, real, smallest) == 0
    noise = torch.randint(0, 17, (50, 1, 8, 8), generator=seeded(1), dtype=torch.uint8)
    assert compare_distances(find_nearest(noise, train.rows.x, 17), real, smallest) > 1.5
    one = train.rows.x[:1].clone()
    one[0, 0, 0, 0] += 1
    assert float(find_nearest(one, train.rows.x[:1], 17).distance) == pytest.approx(
        smallest, rel=1e-4
    )


@pytest.fixture(scope="module")
def yardstick() -> Yardstick:
    parts = load_digits().split()
    assert parts is not None
    learned, _ = halve(parts["train"])
    return Yardstick(make_encoder(learned), parts["train"], parts["validation"].join(parts["test"]))


def test_the_encoder_learns_from_one_half_alone_and_reads_digits(yardstick: Yardstick) -> None:
    learned, kept = halve(yardstick.train)
    digests = [{digest_of(x) for x in half.rows.x} for half in (learned, kept)]
    assert not digests[0] & digests[1]
    assert len(learned) + len(kept) == len(yardstick.train)
    read, held_out = yardstick.encoder, yardstick.held_out.rows
    assert read is not None
    # 154 digits; the committed seed reads 98 %
    assert float((read.read(held_out.x) == held_out.label).double().mean()) > 0.94


def test_the_encoder_is_a_function_of_the_pictures(yardstick: Yardstick) -> None:
    torch.manual_seed(999)
    before = torch.get_rng_state()
    again = make_encoder(halve(yardstick.train)[0])
    x = yardstick.held_out.rows.x[:9]
    assert torch.equal(embed(again, x), embed(yardstick.encoder, x))
    assert torch.equal(torch.get_rng_state(), before)  # and takes nothing from the run's


def test_samples_with_a_known_fault_are_found_out(yardstick: Yardstick) -> None:
    """Real pictures with two thirds of the labels left out, copies, and noise."""
    train = yardstick.train
    three = train.rows.x[train.rows.label < 3][:400]
    drawn, real = judge_samples(yardstick, three, None)
    assert drawn.figures["labels_drawn"] == 3
    assert real.figures["labels_drawn"] == 10
    assert drawn.figures["recall"] < 0.5 < real.figures["recall"]
    assert drawn.figures["frechet_as_few"] > 4 * real.figures["frechet"]
    assert drawn.figures["nearest_ratio"] == 0  # these are copies
    assert real.figures["nearest_ratio"] == pytest.approx(1)
    noise = torch.randint(0, 17, (200, 1, 8, 8), generator=seeded(2), dtype=torch.uint8)
    asked = torch.arange(200) % 10
    measured = yardstick.measure(noise, asked).figures
    assert measured["precision"] < 0.05
    assert measured["told_apart"] > 0.95
    assert measured["read_right"] < 0.3


def test_pictures_without_labels_and_tiny_ones_have_encoders_of_their_own() -> None:
    x = torch.randint(0, 17, (60, 1, 8, 8), generator=seeded(3), dtype=torch.uint8)
    plain: PictureSet = make_set(x, None, 17, (), "x")
    assert embed(make_encoder(plain), x).shape == (60, 32)
    assert torch.equal(embed(make_encoder(plain), x), embed(make_encoder(plain), x))
    points = make_set(x[:, :, :1, :2], None, 17, (), "x")
    assert make_encoder(points) is None
    assert torch.equal(embed(None, points.rows.x), points.rows.x.double().flatten(1))
    assert halve(plain) == (plain, plain)


def test_pictures_that_come_label_by_label_are_compared_with_all_labels() -> None:
    """As folders are read: the first of them are of a few labels alone."""
    parts = load_digits().split()
    assert parts is not None
    in_order = {
        part: given.take(given.rows.label.argsort(stable=True)) for part, given in parts.items()
    }
    learned, _ = halve(in_order["train"])
    held_out = in_order["validation"].join(in_order["test"])
    held_out = held_out.take(held_out.rows.label.argsort(stable=True))
    sorted_yardstick = Yardstick(make_encoder(learned), in_order["train"], held_out)
    assert held_out.rows.label[:60].unique().numel() < 6
    few = sorted_yardstick.measure_held_out(60).figures
    assert few["labels_drawn"] == 10
    assert few["recall"] > 0.5  # of real pictures of every label, not of the first ones


def test_a_picture_without_a_label_is_not_learned_from() -> None:
    digits = load_digits()
    label = digits.rows.label.clone()
    label[::3] = UNKNOWN
    some = PictureSet(digits.rows.replace(label=label), digits.shape)
    learned, kept = halve(some)
    assert not bool((learned.rows.label == UNKNOWN).any())
    assert bool((kept.rows.label == UNKNOWN).any())
    assert make_encoder(learned) is not None
