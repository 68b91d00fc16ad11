"""A row that is cut fits, keeps its <|begin|>, holds something to train on, and leaves both sides
of a pair one prompt.
"""

from __future__ import annotations

import pytest

from fledge.rows.census import Census, Reading, Truncate, Unusable
from fledge.text.fitting import fit, fit_answers

Row = tuple[list[int], list[bool]]


def row(asked: int, answered: int, first: int = 100) -> Row:
    """Token ids that tell where they stood: a prompt from 0 on, an answer from `first` on."""
    return [*range(asked), *range(first, first + answered)], [False] * asked + [True] * answered


def census(truncate: Truncate | None) -> Census:
    return Census("file", Reading(truncate=truncate))


@pytest.mark.parametrize("truncate", [None, "no", "left", "right"])
def test_a_row_that_fits_stays_as_it_is(truncate: Truncate | None) -> None:
    counted = census(truncate)
    assert fit(row(3, 5), 8, counted, 0) == row(3, 5)
    assert fit_answers([row(3, 5), row(3, 2, first=200)], 8, counted, 0) == [
        row(3, 5),
        row(3, 2, first=200),
    ]
    assert counted.truncated == 0


def test_the_right_of_a_row_goes() -> None:
    counted = census("right")
    assert fit(row(3, 9), 8, counted, 0) == (
        [0, 1, 2, 100, 101, 102, 103, 104],
        [False] * 3 + [True] * 5,
    )
    assert counted.truncated == 1


def test_the_left_of_a_row_goes_and_its_first_token_stays() -> None:
    assert fit(row(6, 4), 8, census("left"), 0) == (
        [0, 3, 4, 5, 100, 101, 102, 103],
        [False] * 4 + [True] * 4,
    )
    assert fit(row(3, 9), 8, census("left"), 0) == ([0, *range(102, 109)], [False] + [True] * 7)


@pytest.mark.parametrize("begin", [None, 7])
def test_a_first_token_that_opens_no_row_goes_too(begin: int | None) -> None:
    """As the token of a turn does, in a template without a token that opens the whole."""
    cut = [*range(2, 6), *range(100, 104)], [False] * 4 + [True] * 4
    assert fit(row(6, 4), 8, census("left"), begin) == cut
    pair = [row(9, 4), row(9, 2, first=200)]
    preferred, rejected = fit_answers(pair, 8, census("left"), begin)
    assert preferred[0] == [5, 6, 7, 8, 100, 101, 102, 103]
    assert rejected[0] == [5, 6, 7, 8, 200, 201]


def test_the_prompt_of_a_pair_is_cut_by_as_much_on_both_sides() -> None:
    preferred, rejected = fit_answers([row(9, 4), row(9, 2, first=200)], 8, census("left"), 0)
    assert preferred == ([0, 6, 7, 8, 100, 101, 102, 103], [False] * 4 + [True] * 4)
    assert rejected == ([0, 6, 7, 8, 200, 201], [False] * 4 + [True] * 2)


def test_the_answers_of_a_pair_are_cut_at_the_end() -> None:
    preferred, rejected = fit_answers([row(3, 9), row(3, 2, first=200)], 8, census("right"), 0)
    assert preferred == ([0, 1, 2, 100, 101, 102, 103, 104], [False] * 3 + [True] * 5)
    assert rejected == row(3, 2, first=200)


@pytest.mark.parametrize(
    ("rows", "truncate", "reason"),
    [
        ([row(3, 9)], None, "longer than the context of 8 tokens"),
        ([row(3, 9)], "no", "longer than the context of 8 tokens"),
        ([row(8, 2)], "right", "a prompt that leaves no room"),
        ([row(9, 2), row(9, 1, first=200)], "no", "longer than the context of 8 tokens"),
        ([row(8, 2), row(8, 1, first=200)], "right", "a prompt that leaves no room"),
        ([row(9, 8), row(9, 1, first=200)], "left", "an answer that alone is longer"),
        ([row(9, 8)], "left", "an answer that alone is longer"),
    ],
)
def test_what_cannot_be_cut_has_a_reason(
    rows: list[Row], truncate: Truncate | None, reason: str
) -> None:
    with pytest.raises(Unusable, match=reason):
        fit_answers(rows, 8, census(truncate), 0)


def test_a_conversation_whose_trained_turn_would_go_is_not_cut() -> None:
    ids, own = row(9, 2)
    with pytest.raises(Unusable, match="a prompt that leaves no room"):
        fit((ids, own), 8, census("right"), 0)
    with pytest.raises(Unusable, match="a prompt that leaves no room"):
        fit((ids, [False, True, True] + [False] * 8), 8, census("left"), 0)


def test_two_answers_that_differ_behind_the_cut_only_are_no_pair() -> None:
    long, other = row(3, 9), row(3, 9)
    other[0][-1] = 7
    with pytest.raises(Unusable, match="equal where they are cut"):
        fit_answers([long, other], 8, census("right"), 0)
