"""Win rates of judges that are known: one that goes by quality, one that goes by the place."""

from __future__ import annotations

import pytest

from fledge.evaluate.win_rate import measure_win_rate


def test_a_judge_that_prefers_the_first_place_says_nothing() -> None:
    told = measure_win_rate([1.0] * 10, [0.0] * 10)
    assert (told.rate, told.ties, told.first, told.swayed) == (0.5, 10, 1.0, 1.0)


def test_a_judge_that_goes_by_what_it_reads_has_no_favourite_place() -> None:
    told = measure_win_rate([1, 1, 1, 0, 0.5], [1, 1, 1, 0, 0.5])
    assert (told.wins, told.ties, told.losses) == (3, 1, 1)
    assert told.rate == pytest.approx(0.7)
    assert (told.first, told.swayed) == (0.5, 0.0)
    assert told.low < 0.7 < told.high


def test_one_order_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="give as many"):
        measure_win_rate([1.0], [])
