"""A mixture: every source has its share of the rows, each row is one of its own text, and the
position restores everything.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.sample.mixture import MixedRows

TEXTS: list[Any] = [np.arange(1000, 2000), np.arange(5000, 5300), np.arange(9000, 9100)]


def mixed(shares: list[float], rows: int = 4) -> MixedRows:
    texts = TEXTS[: len(shares)]
    return MixedRows(
        texts, list("abc")[: len(shares)], shares, None, rows_per_step=rows, context=9, seed=3
    )


@pytest.mark.parametrize(("weights", "rows"), [((2, 1), 3), ((5, 3, 2), 10), ((7, 1, 1), 9)])
def test_shares_are_exact_wherever_they_divide_the_rows(
    weights: tuple[int, ...], rows: int
) -> None:
    sampler = mixed([weight / sum(weights) for weight in weights], rows)
    for _ in range(200):  # passes over each text several times
        first = next(sampler).obs[:, 0]
        assert [
            int((first // 1000 == text[0] // 1000).sum()) for text in TEXTS[: len(weights)]
        ] == [*weights]


def test_no_share_is_off_by_a_row_at_any_time() -> None:
    share, given = 0.5**0.5, 0
    sampler = mixed([share, 1 - share], 1)
    for number in range(1, 1000):
        given += int(next(sampler).obs[0, 0] < 2000)
        assert abs(given - number * share) < 1


def test_a_pass_reads_every_window_of_each_source_once_whatever_its_share() -> None:
    sampler = mixed([0.9, 0.1], 1)
    rows = [next(sampler).obs[0].tolist() for _ in range(2000)]
    assert all(row == list(range(row[0], row[0] + 10)) for row in rows)  # none across two sources
    for start, text in zip((1000, 5000), sampler.texts, strict=False):
        own = [row[0] for row in rows if row[0] // 1000 == start // 1000][: text.windows]
        assert len(own) == text.windows
        assert sorted(own) == list(range(min(own), min(own) + 9 * text.windows, 9))


def test_the_rows_given_restore_everything_and_a_copy_moves_nothing() -> None:
    straight, resumed = mixed([0.6, 0.3, 0.1]), mixed([0.6, 0.3, 0.1])
    for _ in range(37):
        next(straight)
    before = straight.state_dict()
    next(copy.copy(straight))
    assert straight.state_dict() == before == {"given": [89, 44, 15]}
    resumed.load_state_dict(before)
    for _ in range(100):
        assert torch.equal(next(straight).obs, next(resumed).obs)
        assert straight.figures == resumed.figures
    assert straight.figures["epoch_3"] == round(0.1 * 137 * 4) / resumed.texts[2].windows


def test_a_source_too_short_for_a_row_is_named() -> None:
    texts, names, shares = [TEXTS[0], TEXTS[1][:5]], ["a", "b"], [0.5, 0.5]
    with pytest.raises(UserError, match=r"^b: the text has 5 tokens"):
        MixedRows(texts, names, shares, None, rows_per_step=1, context=9, seed=0)
