"""SimCLR's loss by hand, and DINO's teacher, centre and loss beside their formulas."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from fledge.algorithms.images.dino import move_centre, sharpen
from fledge.algorithms.images.pretext import noise_for
from fledge.algorithms.images.simclr import DEFAULT, find_nearest, make_views, nt_xent, pair_up
from tests.algorithms.images.pretext_subjects import make, pictures


def test_nt_xent_of_four_points_by_hand() -> None:
    """Two pictures, two copies each, on a circle: every cosine is of a difference of angles."""
    degrees = {(0, 0): 0.0, (0, 1): 30.0, (1, 0): 100.0, (1, 1): 160.0}
    length = {(0, 0): 1.0, (0, 1): 3.0, (1, 0): 0.5, (1, 1): 2.0}  # which is to count for nothing
    tau = 0.5
    z = torch.tensor([
        [
            [length[n, v] * math.cos(math.radians(degrees[n, v])),
             length[n, v] * math.sin(math.radians(degrees[n, v]))]
            for v in range(2)
        ]
        for n in range(2)
    ])  # fmt: skip
    wanted = []
    for n in range(2):
        each = []
        for v in range(2):
            e = {
                other: math.exp(math.cos(math.radians(degrees[other] - degrees[n, v])) / tau)
                for other in itertools.product(range(2), range(2))
                if other != (n, v)
            }
            each.append(-math.log(e[n, 1 - v] / sum(e.values())))
        wanted.append(sum(each) / 2)
    torch.testing.assert_close(nt_xent(z, tau), torch.tensor(wanted))
    assert (find_nearest(z) == pair_up(2)).all()


def test_two_copies_are_changed_each_in_its_own_way() -> None:
    rows = pictures().rows
    views = make_views(rows, DEFAULT, 256, torch.Generator().manual_seed(0))
    for one, other in itertools.combinations((rows.x, views.one, views.other), 2):
        assert (one != other).flatten(1).any(1).all()


def test_centre_and_sharpening_are_the_papers() -> None:
    raw = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    centre = torch.tensor([0.1, -0.2, 0.3, 0.0, 1.0])
    wanted = [
        0.9 * float(centre[k]) + 0.1 * sum(float(raw[b, v, k]) for b in range(3) for v in range(2))
        / 6 for k in range(5)
    ]  # fmt: skip
    torch.testing.assert_close(move_centre(centre, raw, 0.1), torch.tensor(wanted))
    e = [math.exp((float(raw[1, 0, k]) - float(centre[k])) / 0.5) for k in range(5)]
    said = sharpen(raw, centre, 0.5)[1, 0]
    torch.testing.assert_close(said, torch.tensor([each / sum(e) for each in e]))


def test_a_step_moves_teacher_and_centre_after_the_student() -> None:
    algorithm, rows = make("dino", teacher_rate=0.25, centre_rate=0.5), pictures().rows
    before = {name: x.clone() for name, x in algorithm.teacher.network.state_dict().items()}
    views = make_views(rows, DEFAULT, 256, noise_for(0, algorithm.learner))
    raw = algorithm._ask_teacher(views)
    algorithm.update(rows)
    torch.testing.assert_close(algorithm.centre, raw.mean((0, 1)) / 2)
    student = algorithm.student.state_dict()
    moved = 0.0
    for name, x in algorithm.teacher.network.state_dict().items():
        torch.testing.assert_close(x, 0.75 * before[name] + 0.25 * student[name])
        moved += float((x - before[name]).abs().sum())
    assert moved > 1e-2
    assert not any(p.requires_grad for p in algorithm.teacher.network.parameters())


def test_each_copy_is_foretold_from_the_other() -> None:
    """The first step's loss, where student and teacher are one network and the centre is 0."""
    algorithm, rows = make("dino"), pictures().rows
    views = make_views(rows, DEFAULT, 256, noise_for(0, algorithm.learner))
    raw = algorithm._ask_teacher(views).double()
    total = 0.0
    for b in range(len(rows)):
        for one, other in ((0, 1), (1, 0)):
            teacher = (raw[b, one] / 0.04).softmax(0)
            student = (raw[b, other] / 0.1).log_softmax(0)
            total -= float((teacher * student).sum()) / 2
    figures = algorithm.update(rows)
    assert figures["loss"] == pytest.approx(total / len(rows), rel=1e-4)
    assert 0 < figures["teacher_entropy"] <= math.log(128)
