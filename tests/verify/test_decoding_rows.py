"""Decoding: the rows hold in both precisions, and a rule beside another's definition does not."""

from __future__ import annotations

import pytest
import torch

from fledge.verify import decoding_rows as rows
from fledge.verify.laboratory import Hardware


def test_the_rows_hold_in_both_precisions() -> None:
    for dtype in (torch.float64, torch.float32):
        made = rows.decoding_rows(Hardware("cpu", dtype))
        assert [row.id for row in made] == [f"D{n}" for n in range(1, 7)]
        assert all(row.holds for row in made), [row for row in made if not row.holds]


@pytest.mark.parametrize("name", rows.RULES)
def test_a_row_fails_where_the_rule_is_another(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is given one more symbol, a little more mass, or another temperature than the
    definition.
    """
    exact = rows.truncated
    changes = {"temperature": 1.1, "top_k": 2, "top_p": 0.6, "min_p": 0.5}
    wrong = {key: changes[key] for key in rows.RULES[name]}
    monkeypatch.setattr(rows, "truncated", lambda logits, **rule: exact(logits, **wrong))
    assert not rows.rule_row(1, name, Hardware()).holds
