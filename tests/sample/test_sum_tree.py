"""A tree of sums says what the plain running sum says, and never points at what has no weight."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fledge.sample.sum_tree import SumTree

# whole numbers: every sum is exact
WHOLE = st.lists(st.integers(0, 5), min_size=1, max_size=70).filter(any)


def filled(numbers: list[int]) -> SumTree:
    tree = SumTree(len(numbers))
    tree.set(np.arange(len(numbers)), np.array(numbers, float))
    return tree


@given(WHOLE, st.data())
def test_every_mass_is_found_where_the_running_sum_passes_it(
    numbers: list[int], data: st.DataObject
) -> None:
    tree = filled(numbers)
    changed = data.draw(st.lists(st.integers(0, len(numbers) - 1), max_size=5, unique=True))
    for place in changed:
        numbers[place] += 1
    tree.set(np.array(changed, np.int64), np.array([numbers[place] for place in changed], float))
    assert tree.total == sum(numbers)
    # who owns each unit of mass
    owner = [place for place, number in enumerate(numbers) for _ in range(number)]
    assert tree.find(np.arange(0.5, sum(numbers))).tolist() == owner
    assert tree.find(np.arange(sum(numbers), dtype=float)).tolist() == owner


@given(st.lists(st.sampled_from([0.0, 0.1, 0.3, 1e-9, 1e9]), min_size=1, max_size=40).filter(any))
def test_no_mass_is_found_at_a_number_that_is_zero_even_at_the_total(numbers: list[float]) -> None:
    tree = SumTree(len(numbers))
    tree.set(np.arange(len(numbers)), np.array(numbers))
    masses = tree.total * np.array([0.0, 0.5, 1 - 1e-16, 1.0, 1 + 1e-15])
    assert all(numbers[place] > 0 for place in tree.find(masses))


def test_where_a_place_is_named_twice_the_last_number_counts() -> None:
    tree = SumTree(5)
    tree.set(np.array([3, 1, 3]), np.array([7.0, 1.0, 2.0]))
    assert tree.numbers.tolist() == [0, 1, 0, 2, 0]
    assert tree.total == 3


def test_all_numbers_at_once_give_the_same_bits_as_one_by_one() -> None:
    numbers = np.random.default_rng(0).random(37)
    one_by_one, at_once = SumTree(37), SumTree(37)
    for place in np.random.default_rng(1).permutation(37):
        one_by_one.set(np.array([place]), numbers[[place]])
    at_once.load(numbers)
    assert np.array_equal(one_by_one.nodes, at_once.nodes)
