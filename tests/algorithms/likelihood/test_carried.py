"""A state carried from step to step: what is said of a piece of text is what the whole text up to
there makes of it, and the gradient stops where the piece begins.
"""

from __future__ import annotations

import pytest
import torch

from fledge.algorithms.likelihood.carried import Carried
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.recurrent_config import Cell, RecurrentConfig
from fledge.policy import TokenPolicy
from fledge.sample.documents import text_rows
from fledge.stopwatch import Stopwatch
from tests.subjects import Gradients, learner, seeded

BORDER = 1


def make(cell: Cell) -> TokenPolicy:
    config = RecurrentConfig(vocab_size=11, cell=cell, context=64, layers=2, width=6)
    network = Recurrent(config, border=BORDER, generator=seeded(2)).double()
    with torch.no_grad():
        network.embedding.weight.mul_(3)
    return TokenPolicy(network)


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", "mingru"])
@pytest.mark.parametrize("micro", [None, 2])
def test_every_step_says_what_the_whole_text_up_to_there_makes_of_it(
    cell: Cell, micro: int | None
) -> None:
    policy = make(cell)
    fit = learner(policy, rows_per_micro_batch=micro)
    Gradients(fit)  # so that nothing moves
    algorithm = Carried(policy, fit, Stopwatch())
    text = torch.randint(2, 11, (3, 31), generator=seeded(7))
    text[0, [0, 4, 10, 20]] = BORDER  # at the beginning of a piece, in the middle, at its end
    text[1, 29] = BORDER
    exact = -policy.log_prob(text, text[:, 1:]).detach()
    for begin in (0, 10, 20):
        batch = text_rows(text[:, begin : begin + 11], BORDER)
        nats = exact[:, begin : begin + 10][batch.chosen].mean()
        assert algorithm.update(batch)["loss"] == pytest.approx(float(nats), abs=1e-12)


def test_the_gradient_stops_where_the_piece_begins() -> None:
    """By finite differences: of the state that a piece began from, as a number that is given."""
    policy = make("lstm")
    fit = learner(policy)
    taken = Gradients(fit)
    algorithm = Carried(policy, fit, Stopwatch())
    first, second = (
        text_rows(torch.randint(2, 11, (2, 9), generator=seeded(n)), BORDER) for n in (1, 2)
    )
    algorithm.update(first)
    state = algorithm.state
    assert state is not None
    weight = policy.network.cells[0].cell.weight_hh_l0
    place = int(sum(p.numel() for p in fit.parameters[: _place(fit.parameters, weight)]))

    def loss() -> float:
        algorithm.state = state
        return algorithm.update(second)["loss"]

    loss()
    said = taken.flat[place : place + weight.numel()].view_as(weight)
    for i, j in ((0, 0), (7, 3), (23, 5)):
        kept = float(weight[i, j].detach())
        sides = []
        for change in (1e-6, -1e-6):
            with torch.no_grad():
                weight[i, j] = kept + change
            sides.append(loss())
        with torch.no_grad():
            weight[i, j] = kept
        assert float(said[i, j]) == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-7)


def _place(parameters: list[torch.nn.Parameter], one: torch.Tensor) -> int:
    return next(i for i, p in enumerate(parameters) if p is one)
