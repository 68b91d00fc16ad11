"""The algorithms on the table of `fledge verify`: one line each says what is put on the bench, and on which language.

A new estimator is one more line. Without a `claim` the algorithm's own `gradient_claim` is checked.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from fledge.algorithms.cispo import cispo
from fledge.algorithms.control_variate import ControlVariate
from fledge.algorithms.expectation_maximisation import ExpectationMaximisation, best_of_n
from fledge.algorithms.grpo import GRPO, dapo, dr_grpo
from fledge.algorithms.gspo import gspo
from fledge.algorithms.kl_control import KLControl
from fledge.algorithms.off_policy import OffPolicy
from fledge.algorithms.online_dpo import OnlineDPO
from fledge.algorithms.ppo import PPO, PPOSettings
from fledge.algorithms.reinforce import Reinforce, rloo
from fledge.algorithms.reward_weighted import RewardWeighted, awr
from fledge.exact.claims import claim_of, judge
from fledge.exact.enumerable import Language
from fledge.exact.laboratory import Bench, Hardware, Make, measure, random_problem
from fledge.exact.rows import Row
from fledge.learner import Learner
from fledge.models.heads import ScalarHead
from fledge.policy import SharedCritic, TokenPolicy
from fledge.stopwatch import Stopwatch

# Sequences of one or two symbols; all of three; too many for groups of eight; and few enough for two groups.
STOPPING, FIXED, LARGE, TINY = Language(3, 2, stop=0), Language(2, 3), Language(3, 3, stop=0), Language(2, 2, stop=0)
BETA = 0.7


@dataclass(frozen=True)
class Entry:
    subject: str
    make: Make
    claim: str | None = None
    samples: int = 2  # G
    groups: int = 1  # of one update
    language: Language = STOPPING
    beta: float = 0.0
    off_policy: bool = False

    def row(self, id: str, hardware: Hardware, updates: int) -> Row:
        problem = random_problem(self.language, seed=7, beta=self.beta, off_policy=self.off_policy)
        measured = measure(self.make, problem, self.samples, groups=self.groups, updates=updates, hardware=hardware)
        claim = self.claim or claim_of(self.make, Bench(problem, self.make, hardware).build())
        share = measured.effective
        note = f"; effective sample size {share:.0%} of the samples" if self.off_policy else ""
        return judge(id, self.subject, claim, measured, self.language.length, hardware, note)


def reinforce(baseline: str) -> Make:
    return partial(Reinforce, baseline=baseline)  # pyright: ignore[reportArgumentType]


def ppo_first_step(
    policy: TokenPolicy,
    learner: Learner,
    stopwatch: Stopwatch,
    *,
    reference: TokenPolicy | None = None,
    kl: KLControl | None = None,
    critic: bool = False,
    gae_lambda: float = 1.0,
    whiten: bool = False,
) -> PPO:
    """One optimizer step: the ratio is 1 and nothing is clipped. The critic says 0, or with `critic` a number drawn for each prefix."""
    head = ScalarHead(policy.network.width)
    if critic:
        torch.nn.init.normal_(head.linear.weight, generator=torch.Generator().manual_seed(0))
    head = head.to(learner.device, policy.network.table.dtype)
    settings = PPOSettings(gae_lambda=gae_lambda, value_coefficient=0.0, updates_per_step=1, whiten_advantage=whiten)
    both = SharedCritic(policy, head)
    generator = torch.Generator().manual_seed(0)
    return PPO(both, learner, stopwatch, settings, generator=generator, reference=reference, kl=kl)


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
    guess = torch.nn.Linear(table.shape[1], table.shape[0], bias=False).to(learner.device, table.dtype)
    torch.nn.init.normal_(guess.weight, generator=torch.Generator().manual_seed(5))
    return ControlVariate(policy, learner, stopwatch, action_value=guess, reference=reference, kl=kl)


UNBIASED, SHRUNK = "unbiased", "unbiased up to scale (G-1)/G"
BY_TOKENS = "biased: a mean over tokens weighs a sample down by the length of the others and its own"
WHITENED = "biased: the advantage is divided by its own spread"
BOOTSTRAPPED = "biased: with λ < 1 a wrong critic stands in for rewards"
CRITIC = partial(ppo_first_step, critic=True)

FAMILY: tuple[Entry, ...] = (
    Entry("reinforce, no baseline", reinforce("none"), UNBIASED),
    Entry("reinforce, leave one out", reinforce("leave_one_out"), UNBIASED),
    Entry("reinforce, leave one out, groups of 3", reinforce("leave_one_out"), UNBIASED, samples=3),
    Entry("reinforce, group mean", reinforce("group"), SHRUNK),
    Entry("reinforce, group mean, groups of 3", reinforce("group"), SHRUNK, samples=3),
    Entry("reinforce, batch mean", reinforce("batch")),
    Entry("reinforce, batch mean, two groups", reinforce("batch"), groups=2, language=TINY),
    Entry("reinforce, no baseline, KL in the reward", reinforce("none"), UNBIASED, beta=BETA),
    Entry("reinforce, leave one out, KL in the reward", reinforce("leave_one_out"), UNBIASED, beta=BETA),
    Entry("reinforce, group mean, KL in the reward", reinforce("group"), SHRUNK, beta=BETA),
    Entry(
        "reinforce, leave one out, groups of 8, sampled",
        reinforce("leave_one_out"),
        UNBIASED,
        samples=8,
        language=LARGE,
    ),
    Entry("reinforce, constant baseline", partial(reinforce("constant"), baseline_value=2.0)),
    Entry("reinforce, optimal baseline", reinforce("optimal"), samples=3),
    Entry("rloo", rloo),
    Entry("off-policy, weights per decision", OffPolicy, off_policy=True),
    Entry("off-policy, weights per decision, KL", OffPolicy, off_policy=True, beta=BETA),
    Entry("off-policy, weights per trajectory", partial(OffPolicy, weights="trajectory"), off_policy=True),
    Entry("off-policy, weights end at 1", partial(OffPolicy, truncate_at=1.0), off_policy=True),
    Entry("ppo, first step, equal lengths", ppo_first_step, "unbiased up to scale 1/T", language=FIXED),
    Entry("ppo, first step, equal lengths, KL", ppo_first_step, "unbiased up to scale 1/T", language=FIXED, beta=BETA),
    Entry("ppo, first step, a wrong critic, λ = 1", CRITIC, "unbiased up to scale 1/T", language=FIXED),
    Entry("ppo, first step, a wrong critic, λ = ½", partial(CRITIC, gae_lambda=0.5), BOOTSTRAPPED, language=FIXED),
    Entry("ppo, first step, unequal lengths", ppo_first_step, BY_TOKENS),
    Entry("ppo, first step, whitened", partial(ppo_first_step, whiten=True), WHITENED, language=FIXED),
    Entry("grpo", GRPO),
    Entry("grpo, KL", GRPO, beta=BETA),
    Entry("dr. grpo", dr_grpo),
    Entry("dr. grpo, KL", dr_grpo, beta=BETA),
    Entry("dapo", dapo),
    Entry("gspo", gspo),
    Entry("cispo", cispo),
    Entry("control variate, a wrong guess", wrong_guess),
    Entry("control variate, a wrong guess, KL", wrong_guess, beta=BETA),
    Entry("reward-weighted regression", RewardWeighted),
    Entry("advantage-weighted regression", awr),
    Entry("em, the right ones kept", partial(ExpectationMaximisation, threshold=2.0), samples=3),
    Entry("best of n", best_of_n, samples=3),
    Entry("online dpo", OnlineDPO, "biased: pairs of the best and the worst fit π_ref·exp(r/β)", beta=BETA),
)


def family_rows(hardware: Hardware, updates: int, entries: tuple[Entry, ...] = FAMILY) -> Iterator[Row]:
    """The rows as they are measured."""
    for number, entry in enumerate(entries, 1):
        yield entry.row(f"A{number}", hardware, updates)


def own_entries(name: str, make: Any) -> tuple[Entry, ...]:
    """What is asked of an algorithm that nothing is known of: groups of two and three, and with the KL where it takes one."""
    entries = [Entry(name, make), Entry(f"{name}, groups of 3", make, samples=3)]
    if {"reference", "kl"} <= set(inspect.signature(make).parameters):
        entries.append(Entry(f"{name}, with KL", make, beta=BETA))
    return tuple(entries)
