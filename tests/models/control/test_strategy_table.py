"""A strategy is written and read whole; a folder that holds none is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fledge.errors import UserError
from fledge.models.control.strategy_table import StrategyTable, load_strategy

TABLE = StrategyTable(
    "coin", ({"H": ("bet", "pass"), "T": ("bet", "pass")}, {"": ("call", "fold", "raise")}),
    torch.tensor([0.75, 0.25, 0.5, 0.5, 0.125, 0.625, 0.25], dtype=torch.float64),
)  # fmt: skip


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    TABLE.save(tmp_path)
    again = load_strategy(tmp_path)
    assert again.read_all() == TABLE.read_all()
    assert again.ask(0, "T") == {"bet": 0.5, "pass": 0.5}
    assert again.ask(1, "") == {"call": 0.125, "fold": 0.625, "raise": 0.25}
    with pytest.raises(UserError, match="player 2 of coin never knows 'H'"):
        again.ask(2, "H")


@pytest.mark.parametrize(
    ("old", "new"), [('"strategy"', '"gmm"'), ('"raise"', '"raise", "more"'), ("sets", "set")]
)
def test_a_folder_that_holds_none_is_refused(old: str, new: str, tmp_path: Path) -> None:
    TABLE.save(tmp_path)
    card = tmp_path / "config.json"
    card.write_text(card.read_text().replace(old, new))
    with pytest.raises(UserError, match="holds no strategy of `fledge solve`"):
        load_strategy(tmp_path)
