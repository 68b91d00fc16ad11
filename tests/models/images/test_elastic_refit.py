"""Refitting: known bends are found, padding and blocks change nothing, and its M-step is ridge
regression as NumPy does it.
"""

from __future__ import annotations

import numpy as np
import torch

from fledge.models.images import elastic_refit
from fledge.models.images.elastic_refit import (
    find_basis,
    find_covariance,
    measure_energy,
    pack_beads,
    refit,
    share_ink,
)
from tests.models.images.programs import letter_t, line


def beads_of(*paths: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(path[::3]).float() for path in paths]


def test_a_letter_that_was_moved_turned_and_stretched_is_found_again() -> None:
    t = beads_of(*letter_t().draw())
    turn = torch.tensor([[1.1, 0.15], [-0.1, 0.9]])
    bent = [path @ turn.T + torch.tensor([4.0, -7.0]) for path in t]
    fitted = refit(pack_beads([t]), pack_beads([bent]), 20)
    apart = (fitted.at[0] - torch.cat(bent)).norm(dim=1)
    assert float(apart.mean()) < 1.5
    assert float(fitted.ink) < 0.5
    assert float(fitted.missed) < 0.5


def test_the_same_letter_costs_less_than_another() -> None:
    t = beads_of(*letter_t().draw())
    corner = beads_of(line((20, 20), (20, 85)), line((20, 85), (80, 85)))
    cross = beads_of(line((20, 50), (80, 50)), line((50, 20), (50, 85)))
    wider = [path * torch.tensor([1.15, 0.9]) for path in t]
    program = pack_beads([t, t, t])
    own, *others = refit(program, pack_beads([wider, corner, cross]), 15).cost.tolist()
    assert own < 0.5 * min(others)


def test_padding_and_blocks_change_nothing() -> None:
    t = beads_of(*letter_t().draw())
    long = beads_of(line((5, 5), (95, 5), (95, 95), (5, 95)))
    alone = refit(pack_beads([t]), pack_beads([t[:1]]), 6)
    beside = refit(pack_beads([t, long]), pack_beads([t[:1], long]), 6)
    assert torch.allclose(alone.cost, beside.cost[:1], atol=1e-4)
    several = pack_beads([t] * 5)
    whole = refit(several, several, 3).cost
    elastic_refit.BLOCK, kept = 2, elastic_refit.BLOCK
    try:
        assert torch.allclose(refit(several, several, 3).cost, whole, atol=1e-5)
    finally:
        elastic_refit.BLOCK = kept


def test_the_basis_is_the_priors_covariance() -> None:
    """Of 20 beads all 20 directions are kept, and their squares sum to the covariance: affine,
    neighbours and strokes by their formula.
    """
    at = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)) * 60
    stroke = torch.arange(20) // 7
    basis = find_basis(at, stroke).double().numpy()
    middle = (at - at.mean(0)).double().numpy()
    for i, j in ((0, 0), (3, 5), (2, 19), (8, 9)):
        square = ((at[i] - at[j]) ** 2).sum().item()
        by_hand = 36 + 0.0625 * middle[i] @ middle[j] + 9 * np.exp(-square / (2 * 18.0**2))
        by_hand += 4 * (i // 7 == j // 7)
        assert abs((basis @ basis.T)[i, j] - by_hand) < 1e-2
    assert np.linalg.eigvalsh(find_covariance(at, stroke).numpy()).min() > -1e-6


def test_responsibilities_are_those_of_a_mixture_with_noise() -> None:
    program, picture = (
        pack_beads([beads_of(line((10, 10), (19, 10)))]),
        pack_beads([beads_of(line((10, 12), (13, 12), (13, 18)))]),
    )
    energy = measure_energy(program.at, program, picture, 2.0)
    of_points, of_beads = (each[0].numpy() for each in share_ink(energy, program, picture))
    for m, n in ((0, 0), (1, 2), (3, 3)):
        likely = np.zeros((4, picture.at.shape[1]))
        for a in range(4):
            for b in range(likely.shape[1]):
                square = float(((program.at[0, a] - picture.at[0, b]) ** 2).sum())
                d, e = program.along[0, a].numpy(), picture.along[0, b].numpy()
                turned = 2 * float(d @ e) ** 2 - 1  # cos 2Δ
                likely[a, b] = np.exp(-square / 8 + 1.5 * (turned - 1))
        noise = np.exp(-4.5)
        assert abs(of_points[m, n] - likely[m, n] / (likely[:, n].sum() + noise)) < 1e-5
        assert abs(of_beads[m, n] - likely[m, n] / (likely[m].sum() + noise)) < 1e-5
