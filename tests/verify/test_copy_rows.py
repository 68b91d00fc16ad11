"""MinHash: the rows hold, and faults are seen."""

from __future__ import annotations

import numpy as np
import pytest

from fledge.curate import near_copies
from fledge.verify import copy_rows as rows


def test_the_rows_hold() -> None:
    made = rows.copy_rows()
    assert [row.id for row in made] == ["L11.1", "L11.2"]
    assert all(row.holds for row in made), [row for row in made if not row.holds]


def test_a_row_that_is_left_out_of_its_band_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = near_copies._find_least

    def forget(runs: np.ndarray, borders: np.ndarray) -> np.ndarray:
        least = whole(runs, borders)
        least[:, :: near_copies.ROWS] = 0
        return least

    monkeypatch.setattr(near_copies, "_find_least", forget)
    assert not rows.band_row().holds


def test_even_factors_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """They lose bits of every hash: what differs becomes the same."""
    even = near_copies.FACTORS << np.uint64(61)
    monkeypatch.setattr(near_copies, "FACTORS", even)
    monkeypatch.setattr(rows, "FACTORS", even)
    assert not rows.band_row().holds
