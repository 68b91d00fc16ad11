"""Algorithms made up for the bench: with the one setting that a row is about, and with critics and
guesses that know nothing.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from fledge.algorithms.policy.control_variate import ControlVariate
from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.policy.reinforce import Baseline, Reinforce
from fledge.critics import SharedCritic
from fledge.exact.enumerable import Language
from fledge.learner import Learner
from fledge.models.language.heads import ScalarHead
from fledge.policy import TokenPolicy
from fledge.score.kl_control import KLControl
from fledge.stopwatch import Stopwatch
from fledge.verify.laboratory import Make

# Sequences of one or two symbols; all of three; too many for groups of eight; and few enough for
# two groups.
STOPPING, FIXED, LARGE, TINY = (
    Language(3, 2, stop=0),
    Language(2, 3),
    Language(3, 3, stop=0),
    Language(2, 2, stop=0),
)


def reinforce(baseline: Baseline, **more: float) -> Make:
    return partial(Reinforce, settings=Reinforce.Settings(baseline=baseline).replace(**more))


def wrong_critic(language: Language) -> Tensor:
    """A number drawn for each prefix, which nothing is worth.  -> [P]"""
    return torch.randn(
        len(language.prefixes), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )


def with_critic(policy: TokenPolicy, language: Language | None) -> SharedCritic:
    """The critic says 0, or, told the language, its `wrong_critic`."""
    table = policy.network.table
    head = ScalarHead(policy.network.width).to(table.device, table.dtype)
    torch.nn.init.zeros_(head.linear.weight)
    if language is not None:
        with torch.no_grad():
            head.linear.weight.fill_(3.0)  # of what comes after an end too, where nobody should ask
            head.linear.weight[0, policy.network.row_of(language)] = wrong_critic(language).to(
                table
            )
    return SharedCritic(policy, head)


def ppo(
    policy: TokenPolicy,
    learner: Learner,
    stopwatch: Stopwatch,
    *,
    reference: TokenPolicy | None = None,
    kl: KLControl | None = None,
    critic: Language | None = None,
    gae_lambda: float = 1.0,
    whiten: bool = False,
    steps: int = 1,
) -> PPO:
    """All rows in each of its optimizer steps; at the first the ratio is 1 and nothing is
    clipped.
    """
    settings = PPO.Settings(
        gae_lambda=gae_lambda,
        value_coefficient=0.0,
        updates_per_step=steps,
        epochs=steps,
        whiten_advantage=whiten,
    )
    both, generator = with_critic(policy, critic), torch.Generator().manual_seed(0)
    return PPO(both, learner, stopwatch, settings, generator=generator, reference=reference, kl=kl)


def reinforce_with_a_critic(
    policy: TokenPolicy, learner: Learner, stopwatch: Stopwatch
) -> Reinforce:
    """Whose value coefficient is 0: it never learns."""
    both = with_critic(policy, STOPPING)
    return Reinforce(
        policy,
        learner,
        stopwatch,
        settings=Reinforce.Settings(baseline="value", value_coefficient=0.0),
        actor_critic=both,
    )


def wrong_guess(
    policy: TokenPolicy,
    learner: Learner,
    stopwatch: Stopwatch,
    *,
    reference: TokenPolicy | None = None,
    kl: KLControl | None = None,
) -> ControlVariate:
    """With a Q̂ that knows nothing: it may make the estimate noisier, never wrong."""
    table = policy.network.table
    guess = torch.nn.Linear(table.shape[1], table.shape[0], bias=False).to(
        learner.device, table.dtype
    )
    torch.nn.init.normal_(guess.weight, generator=torch.Generator().manual_seed(5))
    return ControlVariate(
        policy, learner, stopwatch, action_value=guess, reference=reference, kl=kl
    )
