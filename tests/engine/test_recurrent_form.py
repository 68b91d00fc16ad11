"""A recurrent network in the engine: a state in place of keys and values, the same words."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from fledge.engine.engine import Engine
from fledge.engine.recurrent_form import RecurrentForm
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.recurrent_config import Cell, RecurrentConfig
from fledge.policy import TokenPolicy
from tests.engine.strangers import same
from tests.engine.test_slow_form import agrees, beams_and_guesses_agree, requests
from tests.subjects import seeded

CELLS = get_args(Cell)


def recurrent(cell: Cell, seed: int = 0) -> TokenPolicy:
    config = RecurrentConfig(vocab_size=11, cell=cell, context=64, layers=2, width=8)
    network = Recurrent(config, generator=seeded(seed)).double()
    with torch.no_grad():
        network.embedding.weight.mul_(3)  # so that what it has read decides what it says
    return TokenPolicy(network, torch.arange(11) >= 2)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("prefix_cache_rows", [0, 3])
def test_the_engine_says_what_the_trainer_computes(cell: Cell, prefix_cache_rows: int) -> None:
    policy = recurrent(cell)
    engine = Engine(policy, slots=4, prefix_cache_rows=prefix_cache_rows)
    assert isinstance(engine.batch.network, RecurrentForm)
    for row in engine.run(requests()) + engine.run(requests()):
        assert row.error is None
        agrees(policy, row)
    assert len({tuple(row.tokens) for row in engine.run(requests())}) > 5


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_says_the_same_alone_and_among_others(cell: Cell) -> None:
    policy = recurrent(cell)
    for row, request in zip(Engine(policy, slots=5).run(requests()), requests(), strict=True):
        same(row, Engine(policy, slots=1).run([request])[0], 1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_beams_and_guesses_run_over_it(cell: Cell) -> None:
    beams_and_guesses_agree(recurrent(cell), recurrent(cell, seed=1))
