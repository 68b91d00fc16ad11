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
from fledge.verify.rows import TableRow

BETA = 0.7


@dataclass(frozen=True)
class FamilyMember:
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

    def judge(self, id: str, measured: Measured, hardware: Hardware) -> TableRow:
        problem = self.problem()
        claim = self.claim or claim_of(self.make, Bench(problem, self.make, hardware).build())
        share = measured.effective
        note = f"; effective sample size {share:.0%} of the samples" if self.off_policy else ""
        return judge(
            id, self.subject, claim, measured, self.language.length, hardware, note, self.expected()
        )

    def row(self, id: str, hardware: Hardware, updates: int) -> TableRow:
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
FAMILY: tuple[FamilyMember, ...] = (
    FamilyMember("reinforce, no baseline", reinforce("none"), UNBIASED),
    FamilyMember("reinforce, leave one out", reinforce("leave_one_out"), UNBIASED),
    FamilyMember(
        "reinforce, leave one out, groups of 3", reinforce("leave_one_out"), UNBIASED, samples=3
    ),
    FamilyMember("reinforce, group mean", reinforce("group"), SHRUNK),
    FamilyMember("reinforce, group mean, groups of 3", reinforce("group"), SHRUNK, samples=3),
    FamilyMember("reinforce, batch mean", reinforce("batch")),
    FamilyMember("reinforce, batch mean, two groups", reinforce("batch"), groups=2, language=TINY),
    FamilyMember(
        "reinforce, no baseline, KL in the reward", reinforce("none"), UNBIASED, beta=BETA
    ),
    FamilyMember(
        "reinforce, leave one out, KL in the reward",
        reinforce("leave_one_out"),
        UNBIASED,
        beta=BETA,
    ),
    FamilyMember("reinforce, group mean, KL in the reward", reinforce("group"), SHRUNK, beta=BETA),
    FamilyMember(
        "reinforce, leave one out, KL, temperature ½",
        reinforce("leave_one_out"),
        UNBIASED,
        beta=BETA,
        temperature=0.5,
    ),
    FamilyMember(
        "reinforce, leave one out, groups of 8, sampled",
        reinforce("leave_one_out"),
        UNBIASED,
        samples=8,
        language=LARGE,
    ),
    FamilyMember("reinforce, constant baseline", reinforce("constant", baseline_value=2.0)),
    FamilyMember("reinforce, optimal baseline", reinforce("optimal"), samples=3),
    FamilyMember("reinforce, a wrong critic", reinforce_with_a_critic, UNBIASED),
    FamilyMember(
        "reinforce, discounted",
        reinforce("none", gamma=0.9),
        samples=1,
        formula=partial(biases.discounted, gamma=0.9),
    ),
    FamilyMember("rloo", partial(Reinforce, settings=RLOO)),
    FamilyMember("off-policy, weights per decision", OffPolicy, off_policy=True),
    FamilyMember("off-policy, weights per decision, KL", OffPolicy, off_policy=True, beta=BETA),
    FamilyMember(
        "off-policy, weights per trajectory",
        partial(OffPolicy, settings=OffPolicy.Settings(importance="trajectory")),
        off_policy=True,
    ),
    FamilyMember(
        "off-policy, a constant baseline, temperature ½",
        partial(OffPolicy, settings=OffPolicy.Settings(baseline_value=1.0)),
        off_policy=True,
        temperature=0.5,
    ),
    FamilyMember(
        "off-policy, weights end at 1",
        partial(OffPolicy, settings=OffPolicy.Settings(truncate_at=1.0)),
        off_policy=True,
        formula=partial(biases.off_policy, truncate_at=1.0),
    ),
    FamilyMember(
        "off-policy, weights end at 1, KL",
        partial(OffPolicy, settings=OffPolicy.Settings(truncate_at=1.0)),
        off_policy=True,
        beta=BETA,
        formula=partial(biases.off_policy, truncate_at=1.0, beta=BETA),
    ),
    FamilyMember(
        "off-policy, second step",
        partial(OffPolicy, settings=OffPolicy.Settings(epochs=2)),
        UNBIASED,
        off_policy=True,
        second_step=True,
    ),
    FamilyMember("ppo, first step, equal lengths", ppo, "unbiased up to scale 1/T", language=FIXED),
    FamilyMember(
        "ppo, first step, equal lengths, KL",
        ppo,
        "unbiased up to scale 1/T",
        language=FIXED,
        beta=BETA,
    ),
    FamilyMember(
        "ppo, first step, a wrong critic, λ = 1",
        partial(ppo, critic=FIXED),
        "unbiased up to scale 1/T",
        language=FIXED,
    ),
    FamilyMember(
        "ppo, first step, a wrong critic, λ = ½",
        partial(ppo, critic=FIXED, gae_lambda=0.5),
        BOOTSTRAPPED,
        language=FIXED,
        formula=partial(biases.ppo, gae_lambda=0.5),
        critic=True,
    ),
    FamilyMember("ppo, first step, unequal lengths", ppo, BY_TOKENS, formula=biases.ppo),
    FamilyMember(
        "ppo, first step, whitened",
        partial(ppo, whiten=True),
        WHITENED,
        language=FIXED,
        formula=partial(biases.ppo, whitened=True),
    ),
    FamilyMember(
        "ppo, second step", partial(ppo, steps=2), CLIPPED, second_step=True, formula=biases.ppo
    ),
    FamilyMember(
        "ppo, second step, a wrong critic, whitened, KL",
        partial(ppo, steps=2, critic=STOPPING, gae_lambda=0.5, whiten=True),
        CLIPPED,
        second_step=True,
        beta=BETA,
        formula=partial(biases.ppo, gae_lambda=0.5, whitened=True, beta=BETA),
        critic=True,
    ),
    FamilyMember("grpo", GRPO, formula=biases.grpo),
    FamilyMember("grpo, KL", GRPO, beta=BETA, formula=partial(biases.grpo, beta=BETA)),
    FamilyMember("grpo, groups of 3", GRPO, samples=3, language=TINY, formula=biases.grpo),
    FamilyMember(
        "grpo, second step, KL",
        partial(GRPO, settings=GRPO.Settings(**SAME_ROWS)),
        second_step=True,
        beta=BETA,
        formula=partial(biases.grpo, beta=BETA),
    ),
    FamilyMember("dr. grpo", partial(GRPO, settings=DR_GRPO)),
    FamilyMember("dr. grpo, KL", partial(GRPO, settings=DR_GRPO), beta=BETA),
    FamilyMember(
        "dr. grpo, KL, temperature ½", partial(GRPO, settings=DR_GRPO), beta=BETA, temperature=0.5
    ),
    FamilyMember("dapo", partial(GRPO, settings=DAPO), formula=biases.dapo),
    FamilyMember(
        "dapo, second step",
        partial(GRPO, settings=DAPO.replace(**SAME_ROWS)),
        second_step=True,
        formula=biases.dapo,
    ),
    FamilyMember(
        "dapo, lengths punished",
        partial(GRPO, settings=DAPO.replace(length_buffer=2), length_limit=3),
        formula=partial(biases.dapo, late=biases.overlong(3, 2)),
    ),
    FamilyMember("gspo", partial(GRPO, settings=GSPO), formula=biases.gspo),
    FamilyMember(
        "gspo, second step",
        partial(GRPO, settings=GSPO.replace(**SAME_ROWS)),
        second_step=True,
        formula=biases.gspo,
    ),
    FamilyMember("cispo", partial(GRPO, settings=CISPO), formula=biases.cispo),
    FamilyMember(
        "cispo, second step",
        partial(GRPO, settings=CISPO.replace(**SAME_ROWS)),
        second_step=True,
        formula=biases.cispo,
    ),
    FamilyMember("control variate, a wrong guess", wrong_guess),
    FamilyMember("control variate, a wrong guess, KL", wrong_guess, beta=BETA),
    FamilyMember(
        "reward-weighted regression",
        RewardWeighted,
        formula=biases.spread_over_steps(biases.reward_weighted),
    ),
    FamilyMember(
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
    FamilyMember(
        "reward-weighted regression, second step",
        partial(RewardWeighted, settings=RewardWeighted.Settings(**SAME_ROWS)),
        EARLIER,
        second_step=True,
        formula=biases.spread_over_steps(biases.reward_weighted),
    ),
    FamilyMember(
        "advantage-weighted regression",
        partial(RewardWeighted, settings=AWR),
        formula=biases.spread_over_steps(biases.advantage_weighted),
    ),
    FamilyMember(
        "advantage-weighted regression, weights end at 2",
        partial(RewardWeighted, settings=AWR.replace(reward_temperature=0.5, weight_cap=2.0)),
        samples=3,
        language=TINY,
        formula=biases.spread_over_steps(
            partial(biases.advantage_weighted, temperature=0.5, cap=2.0)
        ),
    ),
    FamilyMember(
        "em, the right ones kept",
        partial(ExpectationMaximisation, settings=ExpectationMaximisation.Settings(threshold=2.0)),
        samples=3,
        formula=biases.spread_over_steps(partial(biases.weigh_right_answers, threshold=2.0)),
    ),
    FamilyMember(
        "em, all in proportion to their reward",
        partial(
            ExpectationMaximisation, settings=ExpectationMaximisation.Settings(keep="posterior")
        ),
        language=FIXED,
        formula=biases.spread_over_steps(biases.weigh_by_reward),
    ),
    FamilyMember(
        "best of n",
        partial(ExpectationMaximisation, settings=BEST_OF_N),
        samples=3,
        formula=biases.spread_over_steps(biases.weigh_best_answers),
    ),
    FamilyMember("online dpo", OnlineDPO, PAIRED, beta=BETA, formula=biases.online_dpo),
    FamilyMember(
        "online dpo, groups of 3",
        OnlineDPO,
        PAIRED,
        samples=3,
        language=TINY,
        beta=BETA,
        formula=biases.online_dpo,
    ),
    FamilyMember(
        "online dpo, temperature ½",
        OnlineDPO,
        PAIRED,
        beta=BETA,
        temperature=0.5,
        formula=biases.online_dpo,
    ),
)


def own_entries(name: str, make: Any) -> tuple[FamilyMember, ...]:
    """What is asked of an algorithm that nothing is known of: groups of two and three, and with the
    KL where it takes one.
    """
    entries = [FamilyMember(name, make), FamilyMember(f"{name}, groups of 3", make, samples=3)]
    if {"reference", "kl"} <= set(inspect.signature(make).parameters):
        entries.append(FamilyMember(f"{name}, with KL", make, beta=BETA))
    return tuple(entries)
