"""Fisher, EWC and merging: the rows hold, and faults are seen."""

from __future__ import annotations

import pytest
import torch

from fledge.algorithms.parts import forgetting
from fledge.hub import merged_weights
from fledge.verify import keeping_rows as rows


def test_the_rows_hold() -> None:
    made = rows.keeping_rows()
    assert [row.id for row in made] == [f"L20.{n}" for n in range(1, 4)]
    assert all(row.holds for row in made), [row for row in made if not row.holds]


def test_the_square_of_a_mean_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch's gradient, in the place of the mean of its examples' squares."""

    def of_batches(network, log_prob, batches):
        total = {name: torch.zeros_like(w) for name, w in network.named_parameters()}
        for x, y in batches:
            slopes = torch.autograd.grad(log_prob(network, x, y).mean(), [*network.parameters()])
            for name, slope in zip(total, slopes, strict=True):
                total[name] += slope**2 * len(x) / rows.EXAMPLES
        return total

    monkeypatch.setattr(rows, "measure_fisher", of_batches)
    assert not rows.fisher_row().holds


def test_a_penalty_without_its_half_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = forgetting.Anchored.penalty
    monkeypatch.setattr(
        forgetting.Anchored, "penalty", lambda self, network, x: 2 * whole(self, network, x)
    )
    assert not rows.penalty_row().holds


def test_an_average_in_half_precision_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = merged_weights._sum
    monkeypatch.setattr(
        merged_weights, "_sum", lambda weights, shares: whole(weights, shares).half().double()
    )
    row = rows.merging_row()
    assert not row.holds
    assert "average" in row.statement
