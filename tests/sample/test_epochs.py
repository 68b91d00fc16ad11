"""An epoch is every row once: whatever the rows a step and the window, and wherever a run was
stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from fledge.sample.conversations import (
    ConversationRows,
    JudgedRows,
    PairRows,
    Shuffled,
    Sides,
    TokenRow,
)


def row(number: int) -> TokenRow:
    """Told by its first token; its length is another for each remainder of 5."""
    length = 2 + number % 5
    return [number] * length, [False] + [True] * (length - 1)


def told(first_tokens: Any) -> list[int]:
    return first_tokens[:, 0].tolist()


def conversations(window: int) -> Callable[[int, int, int], tuple[Any, Callable[[Any], list[int]]]]:
    def make(rows: int, a_step: int, in_all: int) -> tuple[Any, Callable[[Any], list[int]]]:
        items = Shuffled([row(i) for i in range(rows)], seed=3)
        sampler = ConversationRows(
            items, rows_per_step=a_step, seed=3, window=window, rows_in_all=in_all
        )
        return sampler, lambda batch: told(batch.obs)

    return make


def pairs(rows: int, a_step: int, in_all: int) -> tuple[Any, Callable[[Any], list[int]]]:
    items = Shuffled([(row(i), row(i + 1)) for i in range(rows)], seed=3)
    return PairRows(items, pairs_per_step=a_step, rows_in_all=in_all), lambda batch: told(
        batch.preferred.obs
    )


def answers(rows: int, a_step: int, in_all: int) -> tuple[Any, Callable[[Any], list[int]]]:
    items = Shuffled([(row(i), i % 2 == 0) for i in range(rows)], seed=3)
    return JudgedRows(items, rows_per_step=a_step, rows_in_all=in_all), lambda batch: told(
        batch.obs
    )


MAKERS = {
    "conversations": conversations(1),
    "in windows": conversations(4),
    "pairs": pairs,
    "answers": answers,
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    ("rows", "a_step", "epochs"), [(27, 8, 3), (32, 8, 2), (5, 8, 3), (7, 1, 2), (1, 4, 5)]
)
def test_every_row_is_given_once_an_epoch(kind: str, rows: int, a_step: int, epochs: int) -> None:
    sampler, read = MAKERS[kind](rows, a_step, epochs * rows)
    steps = -(-epochs * rows // a_step)
    given = [read(next(sampler)) for _ in range(steps)]
    assert sum(map(len, given)) == epochs * rows
    # A window sorts and shuffles across the border of two epochs: then only the whole can be
    # counted.
    assert Counter(number for batch in given for number in batch) == dict.fromkeys(
        range(rows), epochs
    )
    assert max(map(len, given)) <= a_step
    assert sampler.figures["epoch"] == pytest.approx(epochs)
    if kind in ("pairs", "answers"):
        order = [number for batch in given for number in batch]
        if rows % a_step == 0:
            assert all(
                Counter(order[a : a + rows]) == dict.fromkeys(range(rows), 1)
                for a in range(0, len(order), rows)
            )


@pytest.mark.parametrize("kind", MAKERS)
def test_a_stopped_epoch_goes_on_where_it_stood(kind: str) -> None:
    whole, read = MAKERS[kind](27, 8, 54)
    given = [read(next(whole)) for _ in range(7)]
    begun, _ = MAKERS[kind](27, 8, 54)
    for _ in range(5):
        next(begun)
    resumed, _ = MAKERS[kind](27, 8, 54)
    resumed.load_state_dict(begun.state_dict())
    assert [read(next(resumed)) for _ in range(2)] == given[5:]


def test_without_an_end_the_batches_are_what_they_were() -> None:
    """The end changes the last batch alone."""
    items = Shuffled([row(i) for i in range(27)], seed=3)
    endless = ConversationRows(items, rows_per_step=8, seed=3, window=2)
    ended = ConversationRows(items, rows_per_step=8, seed=3, window=2, rows_in_all=54)
    for _ in range(6):
        assert next(endless).obs.tolist() == next(ended).obs.tolist()


def test_the_sides_of_pairs_come_one_by_one() -> None:
    given = [(row(i), row(i + 10)) for i in range(3)]
    sides = Sides(given)
    assert [sides[i] for i in range(len(sides))] == [
        (side, wanted) for pair in given for side, wanted in zip(pair, (True, False), strict=True)
    ]
