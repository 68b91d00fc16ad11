"""REINFORCE with a state–action control variate: the guess Q̂(s, a) is taken from the return, and
its exact gradient is given back.

sample: policy.  score: reward − β·log(π/π_ref).  weigh: reward-to-go − Q̂(s, a).  fit: nll with
that weight − Σ_a π(a|s)·Q̂(s, a), which is the expectation of what was taken, so that no Q̂ biases
the gradient (Gu et al. 2017, Q-Prop, §3, here for discrete actions).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.settings import AlgorithmSettings
from fledge.fit import nll, value_error
from fledge.learner import Learner
from fledge.policy import Policy, TokenPolicy
from fledge.score.kl_control import KLControl
from fledge.score.scoring import kl_to, use_trainer_logp
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.weigh import reward_to_go


@dataclass(frozen=True, kw_only=True)
class Returned(Trajectories):
    """With what came back after each step, the penalty in it."""

    reward_to_go: Tensor  # [B, T]


class ControlVariate:
    gradient_claim = "unbiased"
    unfinished = None  # one optimizer step per batch

    class Settings(AlgorithmSettings):
        """Of REINFORCE with a control variate."""

        value_coefficient: float = Field(
            default=0.5, ge=0, description="of the guess's error in the loss"
        )

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        action_value: nn.Module,
        reference: Policy | None = None,
        kl: KLControl | None = None,
    ) -> None:
        """action_value: Q̂ of all actions, [N, D] -> [N, V], from the trunk's hidden states, which
        it never moves.

        It learns if the learner holds its parameters (`SharedCritic(policy, action_value)`). A
        micro-batch takes memory for [N, V].
        """
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.action_value, self.settings = action_value, settings or ControlVariate.Settings()
        self.reference, self.kl = reference, kl or KLControl(0.0)

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        with self.stopwatch.phase("score"):
            samples, figures = use_trainer_logp(
                self.policy, batch.to(self.learner.device), self.learner
            )
            kl, distance = kl_to(self.reference, samples, self.learner)
        reward = samples.reward - self.kl.beta * kl
        ends = (samples.chosen, samples.terminated, samples.truncated)
        scored = Returned.of(samples, reward_to_go=reward_to_go(reward, *ends))
        rows, tokens = self.learner.count_rows(scored), self.learner.count(scored.chosen)

        def loss(part: Returned) -> tuple[Tensor, Mapping[str, Tensor]]:
            back = part.reward_to_go[part.chosen]  # [N]: only the chosen steps of all rows
            hidden = self.policy.hidden(part.obs[:, :-1])[part.chosen]  # [N, D]
            action = part.action[part.chosen]  # [N]
            support = self.policy.pack_support(part.action, part.chosen)
            logits = self.policy.logits(hidden, keep=action, support=support)  # [N, V]
            value = self.action_value(hidden.detach())  # [N, V]
            # [N]
            logp, guess = (
                x.gather(-1, action[:, None]).squeeze(-1) for x in (logits.log_softmax(-1), value)
            )
            given_back = (logits.softmax(-1) * value.detach()).sum(-1)  # [N]
            policy_loss = (nll(logp, back - guess.detach()) - given_back).sum() / rows
            value_loss = value_error(guess, back).sum() / tokens
            return policy_loss + self.settings.value_coefficient * value_loss, {
                "value_loss": value_loss
            }

        with self.stopwatch.phase("fit"):
            figures |= distance | self.learner.step(loss, scored) | {"kl_coefficient": self.kl.beta}
        self.kl.observe(figures["kl_k1"])
        return figures

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "kl": self.kl.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.kl.load_state_dict(state["kl"])
