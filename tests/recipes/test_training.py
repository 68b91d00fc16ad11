"""Which weights a checkpoint takes the place of."""

from __future__ import annotations

from torch import nn

from fledge.recipes.training import trains_every_weight


def test_one_frozen_weight_is_read_from_where_it_was_loaded() -> None:
    module = nn.Linear(2, 2)
    assert trains_every_weight(module)
    module.bias.requires_grad_(False)
    assert not trains_every_weight(module)
