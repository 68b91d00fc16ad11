"""Packed rows are the rows that were put in, whichever of them are taken, and five bytes a
token.
"""

from __future__ import annotations

import random

import pytest

from fledge.text.packed import PackedAnswers, PackedPairs, PackedRows


def rows(number: int) -> list[tuple[list[int], list[bool]]]:
    draw = random.Random(0)
    lengths = [draw.randrange(0, 30) for _ in range(number)]
    return [
        ([draw.randrange(2**31) for _ in range(n)], [draw.random() < 0.5 for _ in range(n)])
        for n in lengths
    ]


def test_rows_come_out_as_they_went_in() -> None:
    given = rows(50)
    packed = PackedRows(given)
    assert list(packed) == given
    assert packed[-1] == given[-1]
    assert packed[3:40:5] == given[3:40:5]
    assert packed.lengths().tolist() == [len(ids) for ids, _ in given]
    with pytest.raises(IndexError):
        packed[50]


def test_some_rows_are_taken_in_any_order() -> None:
    given = rows(50)
    places = [7, 3, 3, 49, 0]
    taken = PackedRows(given).take(places)
    assert list(taken) == [given[i] for i in places]
    assert list(taken.take([4, 1])) == [given[0], given[3]]


def test_pairs_and_answers_keep_together_what_belongs_together() -> None:
    one, other = rows(9), rows(18)[9:]
    pairs = PackedPairs(PackedRows(one), PackedRows(other)).take([8, 2, 4])
    assert list(pairs) == pairs[:] == [(one[i], other[i]) for i in (8, 2, 4)]
    wanted = [i % 3 == 0 for i in range(9)]
    answers = PackedAnswers(PackedRows(one), wanted).take([8, 3, 4])
    assert list(answers) == answers[:] == [(one[8], False), (one[3], True), (one[4], False)]


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="3 tokens has 2 mask entries"):
        PackedRows([([1, 2, 3], [True, False])])
