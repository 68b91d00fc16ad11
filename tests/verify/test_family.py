"""Every algorithm on the table keeps its claim, exactly; and a claim one step beside it does not
hold.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import pytest
import torch

from fledge.verify import biases
from fledge.verify.family import FAMILY, UNBIASED, FamilyMember
from fledge.verify.laboratory import Hardware, Measured
from fledge.verify.rows import TableRow

ENTRIES = pytest.mark.parametrize("entry", FAMILY, ids=lambda entry: entry.subject)


@cache
def measured(subject: str) -> Measured:
    (entry,) = (each for each in FAMILY if each.subject == subject)
    return entry.measure(Hardware(), 300)


def judge_entry(entry: FamilyMember) -> TableRow:
    return entry.judge("A", measured(entry.subject), Hardware())


@ENTRIES
def test_the_claim_holds(entry: FamilyMember) -> None:
    """Unbiased ones and scaled ones to 1e-10 where their samples are enumerated; one is drawn, and
    held to its sampling error.
    """
    row = judge_entry(entry)
    assert row.holds, row
    if entry.samples < 8:
        assert row.bound == 1e-10
    if entry.formula is not None:
        # what is said to be biased is
        assert judge_entry(replace(entry, formula=None)).figure > 0.01


@ENTRIES
def test_no_other_claim_holds(entry: FamilyMember) -> None:
    """Neither the full gradient, where it is not said to be that, nor three sevenths of it, which
    nothing here is.
    """
    claim = judge_entry(entry).claim
    for other in {UNBIASED, "unbiased up to scale 3/7"} - {claim}:
        assert not judge_entry(replace(entry, claim=other, formula=None)).holds


def test_a_bias_is_held_to_its_formula() -> None:
    """GRPO's is not DAPO's, nor its own with another clip or a KL that is not there."""
    (grpo,) = (entry for entry in FAMILY if entry.subject == "grpo, second step, KL")
    for wrong in (biases.dapo, partial(biases.grpo, beta=grpo.beta, low=0.3), biases.grpo):
        assert not judge_entry(replace(grpo, formula=wrong)).holds


def test_it_runs_in_float32_too() -> None:
    row = FAMILY[1].row("A", Hardware("cpu", torch.float32), 300)
    assert row.holds
    assert row.bound == 1e-4
    assert row.figure > 1e-10


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({entry.subject for entry in FAMILY}) == len(FAMILY)
