"""The rows of mixtures and factors hold, and a fault that is planted breaks one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fledge.algorithms.latent import discrete_em, factor_em, gaussian_em, kmeans
from fledge.verify.latent_rows import latent_rows
from fledge.verify.rows import TableRow


def test_every_row_holds() -> None:
    rows = latent_rows()
    assert all(row.holds for row in rows)
    assert {row.id.split(".")[0] for row in rows} == {"G1", "G2", "G3", "G17", "U2"}


def half_a_floor(
    true: Callable[..., Any], moments: Any, coordinates: Any, kind: Any, floor: float, *rest: Any
) -> Any:
    """An M-step that adds a floor in place of keeping to it."""
    made = true(moments, coordinates, kind, floor, *rest)
    return type(made)(kind, made.weight, made.mean, made.covariance * 1.001)


@pytest.mark.parametrize("wrong", ["m-step", "assignment", "counting", "factors"])
def test_a_fault_is_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if wrong == "m-step":
        true = gaussian_em.maximise
        monkeypatch.setattr(gaussian_em, "maximise", lambda *g: half_a_floor(true, *g))
        broken = {"G1", "G2.1", "G2.2", "G2.3", "G2.4"}
    elif wrong == "assignment":
        true = kmeans.assign_all

        def assign_all(points: Any, mean: Any) -> Any:
            count, sums, *rest = true(points, mean)
            return count + 1e-3, sums, *rest

        monkeypatch.setattr(kmeans, "assign_all", assign_all)
        broken = {"G17.1"}
    elif wrong == "counting":
        monkeypatch.setattr(
            discrete_em.DiscreteMixture,
            "log_joint",
            lambda self, x: torch.zeros(len(x), 2).double(),
        )
        broken = {"G17.2"}
    else:
        true = factor_em.mean_log_likelihood
        monkeypatch.setattr(factor_em, "mean_log_likelihood", lambda m, c: true(m, c) + 1e-4)
        broken = {"G17.3", "G17.4"}
    rows: list[TableRow] = latent_rows()
    assert {row.id for row in rows if not row.holds} == broken
