"""Rotary positions as they are drawn, beside their formulas."""

from __future__ import annotations

import numpy as np
import torch

from fledge.models.language.rope_scaling import RopeScaling
from fledge.recipes.look.show_rope import (
    Turning,
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
        np.testing.assert_allclose(find_wavelengths(Turning(width, theta)), wanted, rtol=1e-5)
        slower = Turning(width, theta, RopeScaling("linear", 8.0))
        np.testing.assert_allclose(find_wavelengths(slower), 8 * wanted, rtol=1e-5)


def test_scaling_by_wavelength_leaves_fast_pairs_and_slows_slow_ones() -> None:
    """Grattafiori et al. 2024, §3.4.3: what turns more than 4 times in the original length stays,
    what turns less than once is divided.
    """
    plain = 2 * np.pi / frequencies(64, 10_000.0)
    for kind in ("llama3", "yarn"):
        scaled = Turning(64, 10_000.0, RopeScaling(kind, 8.0, original=2048))
        times = find_wavelengths(scaled).numpy() / plain
        np.testing.assert_allclose(times[2048 / plain > 33], 1.0, rtol=1e-4)
        np.testing.assert_allclose(times[2048 / plain < 0.7], 8.0, rtol=1e-4)


def test_the_product_is_a_mean_of_cosines_of_the_distance() -> None:
    distances = np.array([0, 1, 2, 5, 30, 400, 1999])
    for factor in (1.0, 4.0):
        angle = distances[:, None] / factor * frequencies(64, 10_000.0)
        turning = Turning(64, 10_000.0, RopeScaling("linear", factor))
        got = measure_product(turning, torch.from_numpy(distances))
        np.testing.assert_allclose(got, np.cos(angle).mean(1), atol=2e-6)


def test_the_product_is_the_same_wherever_the_two_stand() -> None:
    turning, distances = Turning(32, 10_000.0), torch.tensor([0, 1, 7, 100])
    here, there = (measure_product(turning, distances, place=place) for place in (0, 1000))
    torch.testing.assert_close(here, there, atol=1e-5, rtol=0)
    assert measure_places(turning, list_distances(512), 512) < 1e-5


def test_distances_are_every_near_one_and_some_far_ones() -> None:
    for context in (8, 64, 65, 2048):
        distances = list_distances(context)
        assert distances.tolist() == sorted(set(distances.tolist()))
        assert distances[: min(64, context)].tolist() == list(range(min(64, context)))
        assert int(distances[-1]) == context - 1
