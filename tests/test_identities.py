"""What must be the same computed in two ways: one algorithm as a case of another, one batch in
pieces, one batch on two machines.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.critics import SharedCritic
from fledge.models.language.heads import ScalarHead
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs
from tests.every_algorithm import ALL_ROWS, EVERY, policy, ppo
from tests.subjects import GARBAGE, Gradients, figures_close, learner, rollouts, seeded, spoil

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}  # float64; the promise is 1e-6


def test_supervised_is_the_policy_gradient_with_weight_one() -> None:
    actor = policy()
    batch = rollouts(actor)
    ends = torch.arange(1, 13) == batch.last()[:, None]
    batch = batch.replace(reward=ends.double())  # the reward-to-go of every step is 1
    fit = learner(actor)
    gradients = Gradients(fit)
    Supervised(actor, fit, Stopwatch()).update(batch)
    Reinforce(actor, fit, Stopwatch(), settings=Reinforce.Settings(baseline="none")).update(batch)
    supervised, reinforce = (torch.cat([g.flatten() for g in taken]) for taken in gradients.taken)
    # One is a mean over tokens, the other over rows.
    torch.testing.assert_close(supervised * batch.chosen.sum(), reinforce * len(batch), **EXACT)
    assert supervised.abs().max() > 1e-3


def test_the_first_ppo_step_is_the_policy_gradient() -> None:
    """With ratio 1, a critic that says 0 and the full trace, PPO's gradient is REINFORCE's,
    whatever the clip range.
    """
    actor = policy()
    batch = rollouts(actor)
    both = SharedCritic(actor, ScalarHead(16).double())
    fit = learner(both)
    gradients = Gradients(fit)
    settings = PPO.Settings(
        gamma=0.9,
        gae_lambda=1.0,
        clip_low=0.01,
        clip_high=0.01,
        value_coefficient=0.0,
        whiten_advantage=False,
        updates_per_step=1,
    )
    PPO(both, fit, Stopwatch(), settings, generator=seeded(0)).update(batch)
    Reinforce(
        actor, fit, Stopwatch(), settings=Reinforce.Settings(baseline="none", gamma=0.9)
    ).update(batch)
    first, reinforce = (torch.cat([g.flatten() for g in taken]) for taken in gradients.taken)
    torch.testing.assert_close(first * batch.chosen.sum(), reinforce * len(batch), **EXACT)
    assert first.abs().max() > 1e-3


@pytest.mark.parametrize("name", EVERY)
def test_the_gradient_is_the_same_in_pieces_of_any_size(name: str) -> None:
    whole, figures = EVERY[name](ALL_ROWS, None).gradient()
    assert whole.abs().max() > 1e-3
    # 16 rows: in one piece, in equal and in unequal ones
    for rows_per_micro_batch in (
        16,
        4,
        5,
        1,
    ):
        pieces, same = EVERY[name](ALL_ROWS, rows_per_micro_batch).gradient()
        torch.testing.assert_close(pieces, whole, **EXACT)
        figures_close(same, figures, 1e-9)


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("name", EVERY)
def test_unchosen_steps_touch_neither_gradient_nor_figures(name: str, kind: float) -> None:
    """Reward, log-probability and ends at steps nobody chose, and tokens after a row's end, are
    garbage: nothing changes.
    """
    clean, figures = EVERY[name](ALL_ROWS, None).gradient()
    case = EVERY[name](ALL_ROWS, None)
    batch = case.batch
    case.batch = (
        Pairs(spoil(batch.preferred, kind), spoil(batch.rejected, kind))
        if isinstance(batch, Pairs)
        else spoil(batch, kind)
    )
    dirty, same = case.gradient()
    torch.testing.assert_close(dirty, clean, **EXACT)
    figures_close(same, figures, 1e-9)


def test_every_step_of_a_ppo_update_is_the_same_in_pieces() -> None:
    """Not the first only, where ratios are 1 and values their old ones: four steps of two epochs,
    each from the last one's weights.
    """
    ends = []
    for rows_per_micro_batch in (None, 4, 3, 1):
        case = ppo(
            ALL_ROWS,
            rows_per_micro_batch,
            updates_per_step=4,
            epochs=2,
            value_clip=0.01,
            clip_low=0.01,
            clip_high=0.01,
        )
        del case.learner.optimizer.step  # the real one again
        figures = case.algorithm.update(case.batch)
        assert figures["clip_fraction"] > 0
        ends.append((torch.cat([p.detach().flatten() for p in case.learner.parameters]), figures))
    for weights, figures in ends[1:]:
        torch.testing.assert_close(weights, ends[0][0], rtol=1e-7, atol=1e-9)
        figures_close(figures, ends[0][1], 1e-6)
