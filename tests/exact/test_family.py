"""Every algorithm on the table keeps its claim, exactly; and a claim one step beside it does not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fledge.exact.family import FAMILY, UNBIASED, Entry
from fledge.exact.laboratory import Hardware

ENTRIES = pytest.mark.parametrize("entry", FAMILY, ids=lambda entry: entry.subject)


@ENTRIES
def test_the_claim_holds(entry: Entry) -> None:
    """Unbiased ones and scaled ones to 1e-10 where their samples are enumerated; one is drawn, and held to its sampling error."""
    row = entry.row("A", Hardware(), 300)
    assert row.holds, row
    if row.bound is not None and entry.samples < 8:
        assert row.bound == 1e-10
    if row.bound is None:
        assert row.figure > 0.01  # what is said to be biased is


@ENTRIES
def test_no_other_claim_holds(entry: Entry) -> None:
    """Neither the full gradient, where it is not said to be that, nor three sevenths of it, which nothing here is."""
    claim = entry.row("A", Hardware(), 300).claim
    for other in {UNBIASED, "unbiased up to scale 3/7"} - {claim}:
        assert not replace(entry, claim=other).row("A", Hardware(), 300).holds


def test_it_runs_in_float32_too() -> None:
    row = FAMILY[1].row("A", Hardware("cpu", torch.float32), 300)
    assert row.holds
    assert row.bound == 1e-4
    assert row.figure > 1e-10


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({entry.subject for entry in FAMILY}) == len(FAMILY)
