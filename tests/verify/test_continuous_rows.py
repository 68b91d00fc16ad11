"""SAC and TD3: the rows hold, and fail where what they measure is one fault away."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.verify import continuous_rows as rows


def test_the_rows_hold() -> None:
    made = rows.continuous_rows()
    assert [row.id for row in made] == ["Q5", "Q6"]
    assert all(row.holds for row in made), [row for row in made if not row.holds]


class Larger(rows.SoftActorCritic):
    """The larger of the two critics in the target."""

    def target(self, rows: Any) -> Tensor:
        action, logp = self.actor(rows.next_obs, rows.next_noise)
        worth = (
            self.target_critic.network(rows.next_obs, action).amax(0)
            - self.actor.log_temperature.exp() * logp
        )
        return (rows.reward + torch.where(rows.terminated, 0.0, rows.discount * worth)).detach()


class NeverSmooth(rows.TD3):
    def target(self, rows: Any) -> Tensor:
        return super().target(
            type(rows)(**dict(rows.items()) | {"next_noise": torch.zeros_like(rows.next_noise)})
        )


@pytest.mark.parametrize(
    ("name", "broken", "ask"),
    [("SoftActorCritic", Larger, rows.sac_row), ("TD3", NeverSmooth, rows.td3_row)],
)
def test_a_row_fails_where_what_it_measures_is_broken(
    name: str, broken: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, name, broken)
    assert not ask().holds
