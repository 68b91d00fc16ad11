"""The rows of a batch are shared out fairly among the optimizer steps of an update."""

from __future__ import annotations

import pytest
import torch

from fledge.algorithms.likelihood.expectation_maximisation import ExpectationMaximisation
from fledge.algorithms.parts.minibatches import Minibatches, keep_rows
from fledge.errors import UserError
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from tests.every_algorithm import policy
from tests.subjects import Gradients, learner, rollouts

BATCH = rollouts(policy())


def begun(updates_per_step: int, epochs: int, rows: int = 16) -> Minibatches[Trajectories]:
    plan = Minibatches(updates_per_step, epochs, kind=Trajectories)
    plan.begin(BATCH[:rows], {})
    return plan


@pytest.mark.parametrize("rows", [16, 15, 2])
def test_every_epoch_visits_every_row_once(rows: int) -> None:
    order = begun(4, 2, rows).order
    assert max(len(piece) for piece in order) - min(len(piece) for piece in order) <= 1
    epochs = [torch.cat(order[:2]), torch.cat(order[2:])]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(rows))
    if rows > 2:
        assert not torch.equal(*epochs)


def test_fewer_rows_than_updates_and_epochs_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match=r"3 rows.*4 updates"):
        begun(4, 1, rows=3)
    with pytest.raises(ValueError, match=r"updates_per_step=5.*epochs=2"):
        Minibatches(5, 2, kind=Trajectories)


def test_figures_are_means_over_the_steps_that_were_made() -> None:
    losses = iter([1.0, 2.0, 6.0, 100.0])
    plan = begun(4, 1)
    figures = plan.run(
        lambda rows: {"loss": next(losses)}, lambda: None, enough=lambda step: step["loss"] > 5
    )
    assert figures == {"loss": 3.0, "updates": 3}
    assert plan.batch is None


def test_rows_that_do_not_count_are_left_out_but_for_those_a_step_needs() -> None:
    marked = torch.arange(16) == 5
    alone = keep_rows(BATCH, marked, at_least=1)
    assert len(alone) == 1
    assert torch.equal(alone.obs[0], BATCH.obs[5])
    filled = keep_rows(BATCH, marked, at_least=3)
    assert len(filled) == 3
    assert torch.equal(filled.chosen.any(1), torch.tensor([True, False, False]))
    assert not keep_rows(BATCH, torch.zeros(16, dtype=torch.bool), at_least=2).chosen.any()


def test_figures_are_means_over_the_steps_that_were_made_and_not_over_those_that_were_skipped() -> (
    None
):
    batch = rollouts(policy())
    ends = torch.arange(1, 13) == batch.last()[:, None]
    # one right answer
    batch = batch.replace(reward=(ends & (torch.arange(16) == 3)[:, None]).double())
    figures = []
    for pieces in (1, 8):
        actor = policy()
        fit = learner(actor)
        Gradients(fit)
        figures.append(
            ExpectationMaximisation(
                actor,
                fit,
                Stopwatch(),
                settings=ExpectationMaximisation.Settings(updates_per_step=pieces),
            ).update(batch)
        )
    assert figures[1]["updates"] == 1
    for name in ("loss", "grad_norm"):
        assert figures[1][name] == pytest.approx(figures[0][name])


def test_orders_are_those_of_a_generator_seeded_with_0_unless_one_is_given() -> None:
    random = torch.Generator().manual_seed(0)
    wanted = torch.cat([torch.randperm(16, generator=random) for _ in range(2)])
    assert torch.equal(torch.cat(begun(4, 2).order), wanted)
