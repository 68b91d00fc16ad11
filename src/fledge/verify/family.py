"""The algorithms on the table of `fledge verify`: one line each says what is put on the bench, and
on which language.

A new estimator is one more line. Without a `claim` the algorithm's own `gradient_claim` is checked.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from fledge.algorithms.likelihood.expectation_maximisation import BEST_OF_N, ExpectationMaximisation
from fledge.algorithms.policy.cispo import CISPO
from fledge.algorithms.policy.grpo import DAPO, DR_GRPO, GRPO
from fledge.algorithms.policy.gspo import GSPO
from fledge.algorithms.policy.off_policy import OffPolicy
from fledge.algorithms.policy.reinforce import RLOO, Reinforce
from fledge.algorithms.policy.reward_weighted import AWR, RewardWeighted
from fledge.algorithms.preference.online_dpo import OnlineDPO
from fledge.exact.enumerable import Language
from fledge.exact.problem import Problem, random_problem
from fledge.verify import biases
from fledge.verify.biases import Credit
from fledge.verify.claims import claim_of, judge
from fledge.verify.estimators import (
    FIXED,
    LARGE,
    STOPPING,
    TINY,
    ppo,
    reinforce,
    reinforce_with_a_critic,
    wrong_critic,
    wrong_guess,
)
from fledge.verify.laboratory import Bench, Hardware, Make, Measured, measure
from fledge.verify.rows import Row

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
    formula: Credit | None = None  # of a biased one: what it gives each step of a group
    critic: bool = False  # whether the formula has the `wrong_critic`
    second_step: bool = False  # of an update, from where the first has led
    temperature: float = 1.0

    def problem(self) -> Problem:
        settings = {
            "off_policy": self.off_policy,
            "second_step": self.second_step,
            "temperature": self.temperature,
        }
        return random_problem(self.language, seed=7, beta=self.beta, **settings)

    def expected(self) -> Tensor | None:
        """By the formula.  [P, V]"""
        if self.formula is None:
            return None
        critic = wrong_critic(self.language) if self.critic else None
        return biases.expected(self.problem(), self.samples, self.formula, critic)

    def measure(self, hardware: Hardware, updates: int) -> Measured:
        return measure(
            self.make,
            self.problem(),
            self.samples,
            groups=self.groups,
            updates=updates,
            hardware=hardware,
        )

    def judge(self, id: str, measured: Measured, hardware: Hardware) -> Row:
        problem = self.problem()
        claim = self.claim or claim_of(self.make, Bench(problem, self.make, hardware).build())
        share = measured.effective
        note = f"; effective sample size {share:.0%} of the samples" if self.off_policy else ""
        return judge(
            id, self.subject, claim, measured, self.language.length, hardware, note, self.expected()
        )

    def row(self, id: str, hardware: Hardware, updates: int) -> Row:
        return self.judge(id, self.measure(hardware, updates), hardware)


UNBIASED, SHRUNK = "unbiased", "unbiased up to scale (G-1)/G"
BY_TOKENS = (
    "biased: a mean over tokens weighs a sample down by the length of the others and its own"
)
WHITENED = "biased: the advantage is divided by its own spread"
BOOTSTRAPPED = "biased: with λ < 1 a wrong critic stands in for rewards"
CLIPPED = "biased: from the second step on the ratio is clipped"
PAIRED = "biased: pairs of the best and the worst fit π_ref·exp(r/β)"
EARLIER = "biased: what a sample is worth was settled before the first step"
SAME_ROWS: dict[str, Any] = {"updates_per_step": 2, "epochs": 2}  # all rows in both steps

# What is biased is held to its formula (verify/biases.py).
FAMILY: tuple[Entry, ...] = (
    Entry("reinforce, no baseline", reinforce("none"), UNBIASED),
    Entry("reinforce, leave one out", reinforce("leave_one_out"), UNBIASED),
    Entry("reinforce, leave one out, groups of 3", reinforce("leave_one_out"), UNBIASED, samples=3),
    Entry("reinforce, group mean", reinforce("group"), SHRUNK),
    Entry("reinforce, group mean, groups of 3", reinforce("group"), SHRUNK, samples=3),
    Entry("reinforce, batch mean", reinforce("batch")),
    Entry("reinforce, batch mean, two groups", reinforce("batch"), groups=2, language=TINY),
    Entry("reinforce, no baseline, KL in the reward", reinforce("none"), UNBIASED, beta=BETA),
    Entry(
        "reinforce, leave one out, KL in the reward",
        reinforce("leave_one_out"),
        UNBIASED,
        beta=BETA,
    ),
    Entry("reinforce, group mean, KL in the reward", reinforce("group"), SHRUNK, beta=BETA),
    Entry(
        "reinforce, leave one out, KL, temperature ½",
        reinforce("leave_one_out"),
        UNBIASED,
        beta=BETA,
        temperature=0.5,
    ),
    Entry(
        "reinforce, leave one out, groups of 8, sampled",
        reinforce("leave_one_out"),
        UNBIASED,
        samples=8,
        language=LARGE,
    ),
    Entry("reinforce, constant baseline", reinforce("constant", baseline_value=2.0)),
    Entry("reinforce, optimal baseline", reinforce("optimal"), samples=3),
    Entry("reinforce, a wrong critic", reinforce_with_a_critic, UNBIASED),
    Entry(
        "reinforce, discounted",
        reinforce("none", gamma=0.9),
        samples=1,
        formula=partial(biases.discounted, gamma=0.9),
    ),
    Entry("rloo", partial(Reinforce, settings=RLOO)),
    Entry("off-policy, weights per decision", OffPolicy, off_policy=True),
    Entry("off-policy, weights per decision, KL", OffPolicy, off_policy=True, beta=BETA),
    Entry(
        "off-policy, weights per trajectory",
        partial(OffPolicy, settings=OffPolicy.Settings(importance="trajectory")),
        off_policy=True,
    ),
    Entry(
        "off-policy, a constant baseline, temperature ½",
        partial(OffPolicy, settings=OffPolicy.Settings(baseline_value=1.0)),
        off_policy=True,
        temperature=0.5,
    ),
    Entry(
        "off-policy, weights end at 1",
        partial(OffPolicy, settings=OffPolicy.Settings(truncate_at=1.0)),
        off_policy=True,
        formula=partial(biases.off_policy, truncate_at=1.0),
    ),
    Entry(
        "off-policy, weights end at 1, KL",
        partial(OffPolicy, settings=OffPolicy.Settings(truncate_at=1.0)),
        off_policy=True,
        beta=BETA,
        formula=partial(biases.off_policy, truncate_at=1.0, beta=BETA),
    ),
    Entry(
        "off-policy, second step",
        partial(OffPolicy, settings=OffPolicy.Settings(epochs=2)),
        UNBIASED,
        off_policy=True,
        second_step=True,
    ),
    Entry("ppo, first step, equal lengths", ppo, "unbiased up to scale 1/T", language=FIXED),
    Entry(
        "ppo, first step, equal lengths, KL",
        ppo,
        "unbiased up to scale 1/T",
        language=FIXED,
        beta=BETA,
    ),
    Entry(
        "ppo, first step, a wrong critic, λ = 1",
        partial(ppo, critic=FIXED),
        "unbiased up to scale 1/T",
        language=FIXED,
    ),
    Entry(
        "ppo, first step, a wrong critic, λ = ½",
        partial(ppo, critic=FIXED, gae_lambda=0.5),
        BOOTSTRAPPED,
        language=FIXED,
        formula=partial(biases.ppo, gae_lambda=0.5),
        critic=True,
    ),
    Entry("ppo, first step, unequal lengths", ppo, BY_TOKENS, formula=biases.ppo),
    Entry(
        "ppo, first step, whitened",
        partial(ppo, whiten=True),
        WHITENED,
        language=FIXED,
        formula=partial(biases.ppo, whitened=True),
    ),
    Entry("ppo, second step", partial(ppo, steps=2), CLIPPED, second_step=True, formula=biases.ppo),
    Entry(
        "ppo, second step, a wrong critic, whitened, KL",
        partial(ppo, steps=2, critic=STOPPING, gae_lambda=0.5, whiten=True),
        CLIPPED,
        second_step=True,
        beta=BETA,
        formula=partial(biases.ppo, gae_lambda=0.5, whitened=True, beta=BETA),
        critic=True,
    ),
    Entry("grpo", GRPO, formula=biases.grpo),
    Entry("grpo, KL", GRPO, beta=BETA, formula=partial(biases.grpo, beta=BETA)),
    Entry("grpo, groups of 3", GRPO, samples=3, language=TINY, formula=biases.grpo),
    Entry(
        "grpo, second step, KL",
        partial(GRPO, settings=GRPO.Settings(**SAME_ROWS)),
        second_step=True,
        beta=BETA,
        formula=partial(biases.grpo, beta=BETA),
    ),
    Entry("dr. grpo", partial(GRPO, settings=DR_GRPO)),
    Entry("dr. grpo, KL", partial(GRPO, settings=DR_GRPO), beta=BETA),
    Entry(
        "dr. grpo, KL, temperature ½", partial(GRPO, settings=DR_GRPO), beta=BETA, temperature=0.5
    ),
    Entry("dapo", partial(GRPO, settings=DAPO), formula=biases.dapo),
    Entry(
        "dapo, second step",
        partial(GRPO, settings=DAPO.replace(**SAME_ROWS)),
        second_step=True,
        formula=biases.dapo,
    ),
    Entry(
        "dapo, lengths punished",
        partial(GRPO, settings=DAPO.replace(length_buffer=2), length_limit=3),
        formula=partial(biases.dapo, late=biases.overlong(3, 2)),
    ),
    Entry("gspo", partial(GRPO, settings=GSPO), formula=biases.gspo),
    Entry(
        "gspo, second step",
        partial(GRPO, settings=GSPO.replace(**SAME_ROWS)),
        second_step=True,
        formula=biases.gspo,
    ),
    Entry("cispo", partial(GRPO, settings=CISPO), formula=biases.cispo),
    Entry(
        "cispo, second step",
        partial(GRPO, settings=CISPO.replace(**SAME_ROWS)),
        second_step=True,
        formula=biases.cispo,
    ),
    Entry("control variate, a wrong guess", wrong_guess),
    Entry("control variate, a wrong guess, KL", wrong_guess, beta=BETA),
    Entry(
        "reward-weighted regression",
        RewardWeighted,
        formula=biases.spread_over_steps(biases.reward_weighted),
    ),
    Entry(
        "reward-weighted regression, over the batch, KL",
        partial(
            RewardWeighted,
            settings=RewardWeighted.Settings(weights="batch", reward_temperature=0.5),
        ),
        beta=BETA,
        formula=biases.spread_over_steps(
            partial(biases.reward_weighted, temperature=0.5, beta=BETA)
        ),
    ),
    Entry(
        "reward-weighted regression, second step",
        partial(RewardWeighted, settings=RewardWeighted.Settings(**SAME_ROWS)),
        EARLIER,
        second_step=True,
        formula=biases.spread_over_steps(biases.reward_weighted),
    ),
    Entry(
        "advantage-weighted regression",
        partial(RewardWeighted, settings=AWR),
        formula=biases.spread_over_steps(biases.advantage_weighted),
    ),
    Entry(
        "advantage-weighted regression, weights end at 2",
        partial(RewardWeighted, settings=AWR.replace(reward_temperature=0.5, weight_cap=2.0)),
        samples=3,
        language=TINY,
        formula=biases.spread_over_steps(
            partial(biases.advantage_weighted, temperature=0.5, cap=2.0)
        ),
    ),
    Entry(
        "em, the right ones kept",
        partial(ExpectationMaximisation, settings=ExpectationMaximisation.Settings(threshold=2.0)),
        samples=3,
        formula=biases.spread_over_steps(partial(biases.weigh_right_answers, threshold=2.0)),
    ),
    Entry(
        "em, all in proportion to their reward",
        partial(
            ExpectationMaximisation, settings=ExpectationMaximisation.Settings(keep="posterior")
        ),
        language=FIXED,
        formula=biases.spread_over_steps(biases.weigh_by_reward),
    ),
    Entry(
        "best of n",
        partial(ExpectationMaximisation, settings=BEST_OF_N),
        samples=3,
        formula=biases.spread_over_steps(biases.weigh_best_answers),
    ),
    Entry("online dpo", OnlineDPO, PAIRED, beta=BETA, formula=biases.online_dpo),
    Entry(
        "online dpo, groups of 3",
        OnlineDPO,
        PAIRED,
        samples=3,
        language=TINY,
        beta=BETA,
        formula=biases.online_dpo,
    ),
    Entry(
        "online dpo, temperature ½",
        OnlineDPO,
        PAIRED,
        beta=BETA,
        temperature=0.5,
        formula=biases.online_dpo,
    ),
)


def own_entries(name: str, make: Any) -> tuple[Entry, ...]:
    """What is asked of an algorithm that nothing is known of: groups of two and three, and with the
    KL where it takes one.
    """
    entries = [Entry(name, make), Entry(f"{name}, groups of 3", make, samples=3)]
    if {"reference", "kl"} <= set(inspect.signature(make).parameters):
        entries.append(Entry(f"{name}, with KL", make, beta=BETA))
    return tuple(entries)
