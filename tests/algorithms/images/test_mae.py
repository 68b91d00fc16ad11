"""A masked autoencoder sees nothing of what it is to foretell."""

from __future__ import annotations

import math

import pytest
import torch

from fledge.algorithms.images.pretext import noise_for
from fledge.models.images.encoder import cut_patches
from tests.algorithms.images.pretext_subjects import make, pictures
from tests.subjects import seeded


def test_hidden_patches_do_not_leak_and_read_ones_count() -> None:
    algorithm, x = make("mae"), pictures().rows.x
    order = torch.rand(7, 16, generator=seeded(1)).argsort(1)
    read = algorithm.model.prepare(x)
    said = algorithm.foretell(read, order)
    for place in range(16):
        i, j = divmod(place, 4)
        other = read.clone()
        other[0, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] += 1
        changed = algorithm.foretell(other, order)
        hidden = place in order[0, algorithm.kept :].tolist()
        assert torch.equal(changed[0], said[0]) == hidden
        assert torch.equal(changed[1:], said[1:])


def test_the_loss_is_of_hidden_patches_alone() -> None:
    """Beside the formula, patch by patch, each by its own mean and spread."""
    algorithm, rows = make("mae", hidden=0.6), pictures().rows
    generator = noise_for(0, algorithm.learner)
    order = torch.rand(7, 16, generator=generator).argsort(1)
    assert algorithm.kept == 6
    read = algorithm.model.prepare(rows.x)
    said = algorithm.foretell(read, order).detach().double().numpy()
    wanted = 0.0
    for b in range(7):
        for place in order[b, 6:].tolist():
            i, j = divmod(place, 4)
            patch = read[b, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].double().numpy().ravel()
            target = (patch - patch.mean()) / math.sqrt(patch.var() + 0.05)
            wanted += ((said[b, place] - target) ** 2).mean() / (7 * 10)
    assert algorithm.update(rows)["loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("hidden", "kept"), [(0.01, 15), (0.99, 1), (0.75, 4)])
def test_something_is_read_and_something_hidden(hidden: float, kept: int) -> None:
    assert make("mae", hidden=hidden).kept == kept


def test_its_sheet_has_each_picture_three_times() -> None:
    given = pictures()
    (sheet,) = make("mae", hidden=0.7).draw_sheets(given, seeded(0))
    shown = sheet.x.view(7, 3, 3, 16, 16)
    assert torch.equal(shown[:, 2], given.rows.x)
    same = (cut_patches(shown[:, 0], 4) == cut_patches(shown[:, 2], 4)).all(2)
    assert torch.equal(same.sum(1), torch.full((7,), 5))  # 30 % of 16 patches are read
    kept = (cut_patches(shown[:, 1], 4) == cut_patches(shown[:, 2], 4)).all(2)
    assert (kept | ~same).all()
