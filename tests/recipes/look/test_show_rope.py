"""Rotary positions as they are drawn, beside their formulas."""

from __future__ import annotations

import numpy as np
import torch

from fledge.recipes.look.show_rope import (
    find_wavelengths,
    list_distances,
    measure_places,
    measure_product,
)


def frequencies(width: int, theta: float) -> np.ndarray:
    return theta ** (-2 * np.arange(width // 2) / width)


def test_a_pair_turns_once_in_its_wavelength() -> None:
    for width, theta in ((8, 100.0), (64, 10_000.0), (128, 500_000.0)):
        wanted = 2 * np.pi / frequencies(width, theta)
        np.testing.assert_allclose(find_wavelengths(width, theta).numpy(), wanted, rtol=1e-5)


def test_the_product_is_a_mean_of_cosines_of_the_distance() -> None:
    distances = np.array([0, 1, 2, 5, 30, 400, 1999])
    for scale in (1.0, 4.0):
        angle = distances[:, None] / scale * frequencies(64, 10_000.0)
        got = measure_product(64, 10_000.0, torch.from_numpy(distances), scale=scale)
        np.testing.assert_allclose(got.numpy(), np.cos(angle).mean(1), atol=2e-6)


def test_the_product_is_the_same_wherever_the_two_stand() -> None:
    distances = torch.tensor([0, 1, 7, 100])
    here = measure_product(32, 10_000.0, distances)
    there = measure_product(32, 10_000.0, distances, place=1000)
    torch.testing.assert_close(here, there, atol=1e-5, rtol=0)
    assert measure_places(32, 10_000.0, list_distances(512), 512) < 1e-5


def test_distances_are_every_near_one_and_some_far_ones() -> None:
    for context in (8, 64, 65, 2048):
        distances = list_distances(context)
        assert distances.tolist() == sorted(set(distances.tolist()))
        assert distances[: min(64, context)].tolist() == list(range(min(64, context)))
        assert int(distances[-1]) == context - 1
