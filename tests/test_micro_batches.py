"""Micro-batches hold rows of like length: no cut of sorted rows computes less, and what is said of
the rows comes back in their order.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.micro_batches import MicroBatches, cut_in_order, divide_evenly, group_by_length
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs, Trajectories, from_rows
from tests.subjects import Gradients, learner, policy_of, seeded, transformer

LENGTHS = (3, 14, 5, 13, 4, 12, 2, 15)  # tokens of a row


def rows_of(lengths: tuple[int, ...]) -> Trajectories:
    rows = [torch.randint(7, 20, (n,), generator=seeded(n)).tolist() for n in lengths]
    return from_rows(rows, [[i > 0 for i in range(n)] for n in lengths])


def price(groups: list[list[list[int]]], cost: int, padding: float = 1.0) -> float:
    """Steps, `padding` for each that is padding, and `cost` for each group; a row has one length or
    more.
    """
    whole = [len(g) * sum(map(max, zip(*g, strict=True))) for g in groups]
    own = [sum(map(sum, g)) for g in groups]
    return sum(cost + a + padding * (b - a) for a, b in zip(own, whole, strict=True))


@pytest.mark.parametrize("sequences", [1, 2])
@pytest.mark.parametrize("padding", [1.0, 0.25])
@pytest.mark.parametrize("seed", range(6))
def test_no_other_cut_of_rows_sorted_by_length_costs_less(
    sequences: int, padding: float, seed: int
) -> None:
    """By enumeration of all 2^(B−1) cuts that keep the bound, a single row being always allowed."""
    lengths, tokens, cost = torch.randint(1, 40, (9, sequences), generator=seeded(seed)), 90, 7
    ordered = sorted(lengths.tolist(), key=sum, reverse=True)
    allowed = []
    for cuts in itertools.product([False, True], repeat=len(ordered) - 1):
        ends = [i + 1 for i, cut in enumerate(cuts) if cut] + [len(ordered)]
        groups = [ordered[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        if all(len(g) == 1 or price([g], 0, padding) <= tokens for g in groups):
            allowed.append(price(groups, cost, padding))
    made = group_by_length(lengths, tokens, cost, padding=padding)
    assert sorted(torch.cat(made).tolist()) == list(range(9))
    assert price([lengths[g].tolist() for g in made], cost, padding) == min(allowed)


@given(
    st.lists(st.integers(min_value=1, max_value=60), min_size=1, max_size=24),
    st.integers(min_value=1, max_value=120),
)
def test_rows_without_padding_are_cut_for_memory_alone(lengths: list[int], tokens: int) -> None:
    """Every row once, nothing above the bound but a row alone, no group less than the fewest that
    could hold them.
    """
    sizes = torch.tensor(lengths)
    groups = [group.tolist() for group in divide_evenly(sizes, tokens)]
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    held = [sum(lengths[i] for i in group) for group in groups]
    assert all(len(g) == 1 or size <= tokens for g, size in zip(groups, held, strict=True))
    assert len(groups) == 1 or sum(lengths) > tokens


def test_groups_of_rows_without_padding_are_of_like_size() -> None:
    """32 rows of 5 to 46 tokens, 816 in all: two groups of 512 at the most, neither above 430."""
    sizes = torch.arange(32) * 41 // 31 + 5
    held = [int(sizes[group].sum()) for group in divide_evenly(sizes, 512)]
    assert sum(held) == int(sizes.sum())
    assert len(held) == 2
    assert max(held) <= 430


def test_a_row_that_is_longer_than_the_bound_stands_alone() -> None:
    groups = group_by_length(torch.tensor([[5], [100], [5]]), 20, cost=1)
    assert [g.tolist() for g in groups] == [[1], [0, 2]]


def test_what_a_critic_says_of_the_last_observation_is_there_behind_a_short_row() -> None:
    """A row that has not ended is worth that, in whichever micro-batch it is computed."""
    batch = rows_of(LENGTHS)
    [obs] = MicroBatches(rows=1).map(lambda part: [part.obs.double()], batch)
    last = batch.chosen.int().cumsum(1).argmax(1) + 1  # [B]
    assert torch.equal(obs[:, -1], batch.obs.double()[torch.arange(len(batch)), last])


@pytest.mark.parametrize("cut", [MicroBatches(rows=3), MicroBatches(tokens=40), MicroBatches()])
def test_what_is_said_of_rows_comes_back_in_their_order(cut: MicroBatches) -> None:
    batch = rows_of(LENGTHS)

    def ask(part: Trajectories) -> list[Tensor]:
        return [part.action * part.chosen, part.obs.double(), part.chosen.sum(1)]

    action, obs, length = cut.map(ask, batch)
    assert torch.equal(action, batch.action * batch.chosen)
    # What is said of an observation reaches to the last; behind it nothing is.
    seen = torch.arange(obs.shape[1]) <= batch.chosen.int().cumsum(1).argmax(1, keepdim=True) + 1
    assert torch.equal(obs[seen], batch.obs.double()[seen])
    assert length.tolist() == [n - 1 for n in LENGTHS]


def test_rows_of_a_fixed_number_are_sorted_by_length_too() -> None:
    pieces = list(MicroBatches(rows=4).cut(rows_of(LENGTHS)))
    assert [piece.chosen.sum(1).tolist() for piece in pieces] == [[14, 13, 12, 11], [4, 3, 2, 1]]
    assert [piece.chosen.shape[1] for piece in pieces] == [14, 4]


def test_a_pair_takes_the_room_of_both_its_answers() -> None:
    """Of 20 steps two pairs of 5 + 5 fit, and one of 5 + 6 beside one of 5 + 5 does not."""
    pairs = Pairs(rows_of((6, 6, 6)), rows_of((6, 7, 6)))
    pieces = list(MicroBatches(tokens=20).cut(pairs))
    sizes = [(len(p), p.preferred.chosen.shape[1], p.rejected.chosen.shape[1]) for p in pieces]
    assert sizes == [(1, 5, 6), (2, 5, 5)]


def test_a_step_is_the_same_and_its_padding_is_gone() -> None:
    """Eight rows of 1 to 14 steps, 60 in all: 112 with padding in one piece."""
    batch, gradients, seen = rows_of(LENGTHS), [], []
    for tokens in (None, 40):
        policy, shapes = policy_of(transformer(vocab_size=20)), []

        def watch(_: Any, given: tuple[Tensor, ...], shapes: list[torch.Size] = shapes) -> None:
            shapes.append(given[0].shape)

        policy.network.register_forward_pre_hook(watch)
        fit = learner(policy, tokens_per_micro_batch=tokens)
        taken = Gradients(fit)
        Supervised(policy, fit, Stopwatch()).update(batch)
        gradients.append(taken.flat)
        seen.append(shapes)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)
    assert sum(b * t for b, t in seen[0]) == 112
    assert all(b * t <= 40 for b, t in seen[1])
    assert sum(b * t for b, t in seen[1]) <= 70


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 200))
def test_neighbours_are_read_together_as_far_as_the_tokens_reach(
    lengths: list[int], tokens: int
) -> None:
    parts = list(cut_in_order(lengths, tokens))
    assert [n for part in parts for n in range(part.start, part.stop)] == list(range(len(lengths)))
    for part, following in itertools.zip_longest(parts, parts[1:]):
        steps = (part.stop - part.start) * max(lengths[part])
        assert part.stop == part.start + 1 or (part.stop > part.start and steps <= tokens)
        if following is not None:  # one more would have been too many
            wider = lengths[part.start : following.start + 1]
            assert len(wider) * max(wider) > tokens
