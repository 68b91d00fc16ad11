"""The rows of adversaries and of changed data hold, and a fault that is planted breaks its own."""

from __future__ import annotations

from typing import Any

import pytest

from fledge.algorithms.images import adversarial_losses, change_policy
from fledge.verify import adversarial_rows as rows_of
from fledge.verify.adversarial_rows import adversarial_rows


def test_every_row_holds() -> None:
    rows = adversarial_rows()
    assert [row for row in rows if not row.holds] == []
    assert {row.id.split(".")[0] for row in rows} == {"U8", "U12", "U13"}


def plant(wrong: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """-> the rows that must break"""
    if wrong == "dual":
        true = adversarial_losses.dual
        monkeypatch.setattr(adversarial_losses, "dual", lambda kind, v: true(kind, v) * 1.01)
        return {"U8.3", "U8.4", "U8.5"}
    if wrong == "slope":  # of the sum over pictures, and not of each
        true_slope = adversarial_losses.slope
        monkeypatch.setattr(adversarial_losses, "slope", lambda c, x: 4 * true_slope(c, x))
        return {"U8.7"}
    if wrong == "margin":
        true_loss = rows_of.energy_loss
        monkeypatch.setattr(rows_of, "energy_loss", lambda a, b, m: true_loss(a, b, m * 1.01))
        return {"U13.2"}
    if wrong == "worth":
        true_jvp: Any = change_policy.jvp
        monkeypatch.setattr(
            change_policy, "jvp", lambda f, p, t: tuple(1.01 * x for x in true_jvp(f, p, t))
        )
        return {"U12.2"}
    true_domains = rows_of.domain_loss
    monkeypatch.setattr(
        rows_of, "domain_loss", lambda reader, a, b, w: true_domains(reader, a, b, -w)
    )
    return {"U12.3"}


@pytest.mark.parametrize("wrong", ["dual", "slope", "margin", "worth", "turned"])
def test_a_fault_is_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = plant(wrong, monkeypatch)
    assert {row.id for row in adversarial_rows() if not row.holds} == broken
