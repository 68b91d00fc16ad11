"""Whatever the guess Q̂(s, a) is, the expected gradient is the exact one; a good guess takes the
variance away.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fledge.algorithms.policy.control_variate import ControlVariate
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.critics import SharedCritic
from fledge.exact.enumerable import Language, truncated
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from fledge.sample.rollouts import build_trajectories
from fledge.stopwatch import Stopwatch
from tests.algorithms.enumeration import EXACT, Enumeration
from tests.every_algorithm import policy
from tests.subjects import (
    Gradients,
    TableNetwork,
    figures_close,
    learner,
    rollouts,
    seeded,
    speak,
    spoil,
)


class Guess(nn.Module):
    """A table of its own for every prefix, fixed: hidden states of a table are one-hot.  [N,
    prefixes] -> [N, V]
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table, requires_grad=False)  # [V, prefixes]

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden @ self.table.T


def variance(make: Callable[..., Any]) -> float:
    subject = Enumeration(make)
    return sum(float(p * subject.ascent(i).square().sum()) for i, p in enumerate(subject.p))


@pytest.mark.parametrize("beta", [0.0, 0.7])
@pytest.mark.parametrize("stop", [None, 0])
def test_any_guess_leaves_the_expected_gradient_as_it_is(stop: int | None, beta: float) -> None:
    guess = Guess(3 * TableNetwork(3, 3, seed=9).table.detach())
    subject = Enumeration(partial(ControlVariate, action_value=guess), 3, 3, stop, beta=beta)
    torch.testing.assert_close(subject.expected(), subject.exact(beta), **EXACT)


def test_the_true_action_values_leave_no_noise_of_the_last_step() -> None:
    """Q(s, a) of every place, by enumeration: what is left is only that of which places are
    visited.
    """
    subject = Enumeration(Reinforce)
    table = torch.zeros_like(subject.network.table.detach())
    columns = subject.network.row_of(subject.language)
    for place, prefix in enumerate(subject.language.prefixes):
        for symbol in range(3):
            here = [
                i
                for i, w in enumerate(subject.language.sequences)
                if w[: len(prefix) + 1] == (*prefix, symbol)
            ]
            table[symbol, columns[place]] = (
                subject.p[here] * subject.reward[here]
            ).sum() / subject.p[here].sum()
    known = variance(partial(ControlVariate, action_value=Guess(table)))
    assert known < 0.7 * variance(partial(Reinforce, settings=Reinforce.Settings(baseline="none")))


def test_an_action_that_was_sampled_stays_on_the_support() -> None:
    """One just off it, as after rounding, has the log-probability that every other algorithm trains
    on, and a finite loss.
    """
    actor = TokenPolicy(TableNetwork(3, 2, seed=1), rule=Decoding(top_k=2))
    language = Language(3, 2, 0)
    off = truncated(actor.network.logits(language).detach(), top_k=2)
    least = int(off[0].argmin())  # the first symbol that is cut off
    assert off[0, least] == -torch.inf
    word = next(i for i, symbols in enumerate(language.sequences) if symbols[0] == least)
    batch = speak(language, [word], 3, torch.ones(len(language.sequences)).double())
    fit = learner(actor)
    Gradients(fit)
    nothing = Guess(torch.zeros(3, actor.network.width, dtype=torch.float64))
    algorithm = ControlVariate(
        actor,
        fit,
        Stopwatch(),
        settings=ControlVariate.Settings(value_coefficient=0.0),
        action_value=nothing,
    )
    with torch.no_grad():
        logp = actor.log_prob(batch.obs, batch.action, batch.chosen)
    assert torch.isfinite(logp).all()
    assert algorithm.update(batch)["loss"] == pytest.approx(-float(logp.sum()), rel=1e-9)


def whole(micro: int | None, spoiled: float | None = None) -> tuple[Tensor, dict[str, float]]:
    """Policy and a linear guess from one trunk, learnt together."""
    actor = policy()
    head = nn.Linear(16, 11).double()
    nn.init.normal_(head.weight, generator=seeded(2))
    nn.init.zeros_(head.bias)
    fit = learner(SharedCritic(actor, head), rows_per_micro_batch=micro)
    gradients = Gradients(fit)
    batch = rollouts(actor) if spoiled is None else spoil(rollouts(actor), spoiled)
    figures = ControlVariate(
        actor, fit, Stopwatch(), action_value=head, reference=policy(5)
    ).update(batch)
    return gradients.flat, figures


def test_the_gradient_is_the_same_in_pieces_and_under_garbage() -> None:
    gradient, figures = whole(None)
    for micro, spoiled in ((1, None), (5, None), (None, float("nan")), (4, float("inf"))):
        other, same = whole(micro, spoiled)
        torch.testing.assert_close(other, gradient, rtol=1e-10, atol=1e-12)
        figures_close(same, figures, 1e-9)


def test_policy_and_guess_learn_together() -> None:
    """Reward: the share of the two symbols that are 2."""
    actor = TokenPolicy(TableNetwork(3, 2, seed=1))
    head = nn.Linear(actor.network.width, 3, bias=False).double()
    fit = learner(SharedCritic(actor, head), rate=5e-2)
    algorithm = ControlVariate(actor, fit, Stopwatch(), action_value=head)
    random, losses, scores = seeded(0), [], []
    for _ in range(120):
        completions = generate(
            actor, [[3]], max_new_tokens=2, stop=-1, samples=64, generator=random
        )
        reward = [completion.tokens.count(2) / 2 for completion in completions]
        batch = build_trajectories(completions, reward, [0] * 64)
        losses.append(algorithm.update(batch.replace(reward=batch.reward.double()))["value_loss"])
        scores.append(sum(reward) / 64)
    assert losses[-1] < 0.1 * losses[0]
    assert scores[-1] > 0.9


def test_what_the_guess_learns_moves_its_own_numbers_alone() -> None:
    """Of a trunk that both look at: its gradient is the same whether the guess learns little or
    much.
    """
    slopes = []
    for coefficient in (0.0, 50.0):
        actor = policy()
        guess = nn.Linear(16, 11).double()
        nn.init.normal_(guess.weight, generator=seeded(3))
        nn.init.zeros_(guess.bias)
        fit = learner(SharedCritic(actor, guess))
        gradients = Gradients(fit)
        algorithm = ControlVariate(
            actor,
            fit,
            Stopwatch(),
            settings=ControlVariate.Settings(value_coefficient=coefficient),
            action_value=guess,
        )
        algorithm.update(rollouts(actor))
        of = dict(zip(map(id, fit.parameters), gradients.taken[0], strict=True))
        slopes.append(([of[id(p)] for p in actor.parameters()], of[id(guess.weight)]))
    for little, much in zip(slopes[0][0], slopes[1][0], strict=True):
        torch.testing.assert_close(much, little, rtol=1e-10, atol=1e-12)
    assert slopes[0][1].abs().max() == 0 < slopes[1][1].abs().max()
