"""Which of two samplers a batch comes from: a lot that seed and position alone decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fledge.sample.either import Either
from fledge.seeds import seed_for


class Counts:
    """Gives its name and how many it has given so far, which is its figure too."""

    def __init__(self, name: str) -> None:
        self.name, self.given = name, 0
        self.figures: dict[str, float] = {}

    def __next__(self) -> Any:
        self.given += 1
        self.figures = {"given": float(self.given)}
        return self.name, self.given


def either(share: float, seed: int) -> Either:
    return Either(Counts("a"), Counts("b"), names=("a", "b"), share=share, seed=seed)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_turns_are_philox_s_numbers_at_the_position(seed: int) -> None:
    # A run that was begun with these turns goes on with them in every later version.
    key, sampler, taken = seed_for(seed, "data", "turns"), either(0.3, seed), []
    for _ in range(200):
        given: Any = next(sampler)
        taken.append(given[0])
    numbers = [
        np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 2, position])).random()
        for position in range(200)
    ]
    assert taken == ["a" if number < 0.3 else "b" for number in numbers]
    assert set(taken) == {"a", "b"}


@pytest.mark.parametrize(("share", "name"), [(1.0, "a"), (0.0, "b")])
def test_a_share_of_all_or_nothing_leaves_no_lot(share: float, name: str) -> None:
    sampler = either(share, 0)
    assert [next(sampler) for _ in range(50)] == [(name, n + 1) for n in range(50)]
    assert sampler.figures == {f"{name}_given": 50.0}
