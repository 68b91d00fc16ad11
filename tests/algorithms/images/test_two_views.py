"""SimCLR's loss by hand, and DINO's teacher, balance and loss beside their formulas."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from fledge.algorithms.images.dino import BALANCINGS, balance
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


def balance_one_by_one(raw: np.ndarray, temperature: float, times: int) -> np.ndarray:
    """[n, K] -> [n, K]: columns and rows divided by their sums in turn, in plain numbers."""
    share = np.exp(raw / temperature)
    for _ in range(times):
        share = share / share.sum(0)
        share = share / share.sum(1, keepdims=True)
    return share


def test_shares_are_balanced_as_by_dividing_columns_and_rows_in_turn() -> None:
    raw = torch.rand(3, 2, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wanted = balance_one_by_one(raw.double().view(6, 5).numpy(), 0.3, BALANCINGS)
    torch.testing.assert_close(balance(raw, 0.3).view(6, 5).double(), torch.from_numpy(wanted),
                               atol=1e-6, rtol=1e-5)  # fmt: skip


def test_a_prototype_that_took_all_takes_its_share() -> None:
    """How loud a prototype is for every copy alike goes out."""
    raw = 0.2 * torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(0))
    both = raw + torch.tensor([5.0, 0.0, 0.0, -5.0])
    torch.testing.assert_close(balance(raw, 0.1), balance(both, 0.1), atol=1e-4, rtol=1e-3)
    assert balance(both, 0.1).mean((0, 1)).max() < 0.4
    assert (both / 0.1).softmax(2).mean((0, 1)).max() > 0.99


def test_a_step_moves_the_teacher_after_the_student() -> None:
    algorithm, rows = make("dino", teacher_rate=0.25), pictures().rows
    before = {name: x.clone() for name, x in algorithm.teacher.network.state_dict().items()}
    algorithm.update(rows)
    student = algorithm.student.state_dict()
    moved = 0.0
    for name, x in algorithm.teacher.network.state_dict().items():
        torch.testing.assert_close(x, 0.75 * before[name] + 0.25 * student[name])
        moved += float((x - before[name]).abs().sum())
    assert moved > 1e-2
    assert not any(p.requires_grad for p in algorithm.teacher.network.parameters())


def test_each_copy_is_foretold_from_the_other() -> None:
    """The first step's loss, where student and teacher are one network."""
    algorithm, rows = make("dino", teacher_temperature=0.04), pictures().rows
    views = make_views(rows, DEFAULT, 256, noise_for(0, algorithm.learner))
    raw = algorithm._ask_teacher(views).double()
    said = balance_one_by_one(raw.flatten(0, 1).numpy(), 0.04, BALANCINGS)
    teacher = torch.from_numpy(said).view(raw.shape)
    total = 0.0
    for b in range(len(rows)):
        for one, other in ((0, 1), (1, 0)):
            student = (raw[b, other] / 0.1).log_softmax(0)
            total -= float((teacher[b, one] * student).sum()) / 2
    figures = algorithm.update(rows)
    assert figures["loss"] == pytest.approx(total / len(rows), rel=1e-4)
    entropy = -float((teacher * teacher.log()).sum(2).mean())
    assert figures["teacher_entropy"] == pytest.approx(entropy, rel=1e-3)
