"""The rows of variational inference hold, and a fault that is planted breaks its own."""

from __future__ import annotations

from typing import Any

import pytest

from fledge.algorithms.latent import elbo_gradients, posterior_step, regularised_posterior
from fledge.models.latent import label_model
from fledge.verify.variational_rows import variational_rows


def test_every_row_holds() -> None:
    rows = variational_rows()
    assert [row.id for row in rows if not row.holds] == []
    assert {row.id.split(".")[0] for row in rows} == {"G4", "G5", "G6", "U11", "U13"}


def plant(wrong: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """-> the rows that must break"""
    if wrong == "divergence":
        true = posterior_step.component_divergence
        monkeypatch.setattr(posterior_step, "component_divergence", lambda q: true(q) + 1e-4)
        return {"G4.1"}
    if wrong == "baseline":  # a baseline of the sample itself shrinks the gradient
        monkeypatch.setattr(elbo_gradients, "take_off_others", lambda value: 0.8 * value)
        return {"G5.2", "G5.3"}
    if wrong == "agreement":
        true_said: Any = label_model.list_said
        monkeypatch.setattr(label_model, "list_said", lambda x, C: true_said(x, C).flip(2))
        return {"U11"}
    true_posterior = regularised_posterior.Constraints.posterior
    monkeypatch.setattr(
        regularised_posterior.Constraints, "posterior",
        lambda self, theta: true_posterior(self, theta * 1.01),
    )  # fmt: skip
    return {"U13"}


@pytest.mark.parametrize("wrong", ["divergence", "baseline", "agreement", "dual"])
def test_a_fault_is_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = plant(wrong, monkeypatch)
    assert {row.id for row in variational_rows() if not row.holds} == broken
