"""What each algorithm of `fledge align` is made of: networks, learner, reference, out of the fields
of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fledge.algorithms.likelihood.expectation_maximisation import ExpectationMaximisation
from fledge.algorithms.likelihood.search_teacher import SearchTeacher
from fledge.algorithms.own import Own, OwnClass
from fledge.algorithms.policy.control_variate import ControlVariate
from fledge.algorithms.policy.grpo import GRPO
from fledge.algorithms.policy.off_policy import OffPolicy
from fledge.algorithms.policy.ppo import PPO, Pretraining
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.algorithms.policy.reward_weighted import RewardWeighted
from fledge.algorithms.preference.online_dpo import OnlineDPO
from fledge.algorithms.settings import AlgorithmSettings
from fledge.critics import SeparateCritic, SharedCritic
from fledge.hub.folder import Loaded
from fledge.learner import Learner
from fledge.log_prob import Decoding
from fledge.models.language.heads import ScalarHead, ScalarModel
from fledge.policy import TokenPolicy
from fledge.sample.documents import DocumentRows
from fledge.score.kl_control import KLControl
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.text.shards import TokenStream
from fledge.trained_state import copy_module


@dataclass(frozen=True)
class Making:
    """What a builder is given: of the run, of its policy, and of what it is compared with.

    make_learner: (module, optimizer steps of its schedule) -> its learner. updates: optimizer steps
    of a schedule. text: of the pre-training term, where there is one.
    """

    policy: TokenPolicy
    reference: TokenPolicy
    base: Loaded
    kl: KLControl
    stopwatch: Stopwatch
    make_learner: Callable[[nn.Module, int], Learner]
    updates: int
    seed: int
    max_new_tokens: int
    sampled_in_fp32: bool
    text: TokenStream | None = None

    @property
    def random(self) -> torch.Generator:
        """Of which rows each optimizer step takes."""
        return generator_for(self.seed, "batches")

    @property
    def beside(self) -> dict[str, Any]:
        """What the policy is kept near to, and how dearly."""
        return {"reference": self.reference, "kl": self.kl}

    def learner(self, module: nn.Module) -> Learner:
        return self.make_learner(module, self.updates)

    def parts(self) -> tuple[TokenPolicy, Learner, Stopwatch]:
        """Of an algorithm that trains nothing but the policy."""
        return self.policy, self.learner(self.policy), self.stopwatch


def build_ppo(m: Making, s: PPO.InTexts) -> PPO:
    width = m.base.network.config.width
    both: nn.Module
    if s.critic == "shared":
        both = SharedCritic(m.policy, ScalarHead(width))
    else:
        both = SeparateCritic(m.policy, ScalarModel(copy_module(m.base.network), bias=True))
    both.to(m.policy.network.unembedding.device)
    mixed = None
    if m.text is not None:
        context = min(256, m.base.network.config.context)
        rows = max(1, s.ptx_tokens_per_step // context)
        begin = m.base.tokenizer.begin
        texts = DocumentRows(m.text, begin, rows_per_step=rows, context=context, seed=m.seed)
        mixed = Pretraining(m.policy.with_rule(Decoding()).bind(None), texts, s.ptx_coefficient)
    learner = m.learner(both)
    return PPO(both, learner, m.stopwatch, s, generator=m.random, pretraining=mixed, **m.beside)


def build_control_variate(m: Making, s: ControlVariate.Settings) -> ControlVariate:
    sizes = m.base.network.config
    guess = nn.Linear(sizes.width, sizes.vocab_size, bias=False)
    nn.init.zeros_(guess.weight)  # at first it takes nothing from the return
    both = SharedCritic(m.policy, guess).to(m.policy.network.unembedding.device)
    learner = m.learner(both)
    return ControlVariate(m.policy, learner, m.stopwatch, s, action_value=guess, **m.beside)


BUILDERS: dict[type, Callable[[Making, Any], Any]] = {
    Reinforce: lambda m, s: Reinforce(*m.parts(), s, sampled_in_fp32=m.sampled_in_fp32, **m.beside),
    PPO: build_ppo,
    ControlVariate: build_control_variate,
    GRPO: lambda m, s: GRPO(
        *m.parts(), s, length_limit=m.max_new_tokens, generator=m.random, **m.beside
    ),
    OffPolicy: lambda m, s: OffPolicy(*m.parts(), s, **m.beside),
    RewardWeighted: lambda m, s: RewardWeighted(*m.parts(), s, generator=m.random, **m.beside),
    ExpectationMaximisation: lambda m, s: ExpectationMaximisation(
        *m.parts(), s, generator=m.random, **m.beside
    ),
    SearchTeacher: lambda m, s: SearchTeacher(*m.parts(), s),
    OnlineDPO: lambda m, s: OnlineDPO(*m.parts(), s, reference=m.reference, beta=m.kl.beta),
}


def make_algorithm(m: Making, kind: Any, settings: AlgorithmSettings) -> Any:
    """Of the package or of the user's. Raises UserError for what goes wrong in a user's."""
    if not isinstance(kind, OwnClass):
        return BUILDERS[kind](m, settings)
    parts = m.parts()
    own = kind.build(*parts, settings=settings, generator=m.random, **m.beside)
    return Own(own, parts[1], kind.path, **m.beside)
