"""The rows of autoencoders hold, and a fault that is planted breaks its own."""

from __future__ import annotations

from typing import Any

import pytest

from fledge.models.images.code_prior import CodePrior
from fledge.models.images.vae import VAE
from fledge.verify import autoencoder_rows as rows


def test_every_row_holds() -> None:
    made = rows.autoencoder_rows()
    assert [row.id for row in made if not row.holds] == []
    assert [row.id for row in made] == ["G7.1", "G7.2", "G7.3", "G10.1", "G10.2"]


def plant(wrong: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """-> the rows that must break"""
    if wrong == "kl":
        true_kl = rows.kl_to_standard
        monkeypatch.setattr(rows, "kl_to_standard", lambda m, s: 1.01 * true_kl(m, s))
        return {"G7.1", "G7.2"}
    if wrong == "ratio":  # weights without a constant of q: no bound any more
        true_weights: Any = VAE.log_weights

        def log_weights(self: VAE, x: Any, mean: Any, log_deviation: Any, noise: Any) -> Any:
            log_p, ratio = true_weights(self, x, mean, log_deviation, noise)
            return log_p, ratio + 0.5

        monkeypatch.setattr(VAE, "log_weights", log_weights)
        return {"G7.3"}
    true_prior: Any = CodePrior.log_prob_of
    monkeypatch.setattr(
        CodePrior, "log_prob_of", lambda self, codes, label: true_prior(self, codes, label) + 0.01
    )
    return {"G10.1", "G10.2"}


@pytest.mark.parametrize("wrong", ["kl", "ratio", "prior"])
def test_a_fault_is_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = plant(wrong, monkeypatch)
    assert {row.id for row in rows.autoencoder_rows() if not row.holds} == broken
