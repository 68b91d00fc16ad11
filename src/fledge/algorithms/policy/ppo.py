"""PPO, and with a reference and pre-training text the whole of RLHF: E[r(x, y) − β·log(π/π_ref)] +
γ_ptx·E_text[log π].

sample: policy.  score: reward − β·k1 per token.  weigh: GAE, whitened.  fit: clipped ratio + value
error − entropy bonus. Schulman et al. 2017, eqs. 7 and 9; per-token KL and β: Ziegler et al. 2019;
γ_ptx: Ouyang et al. 2022, eq. 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from fledge.algorithms.parts.judged import Judged
from fledge.algorithms.parts.minibatches import Minibatches
from fledge.fit import clipped_ratio, kl_k1, kl_k3, nll, total, value_error
from fledge.learner import Learner
from fledge.policy import Policy, TokenPolicy
from fledge.score.kl_control import KLControl
from fledge.score.rollout_figures import check_drift, drift, sampled_entropy
from fledge.score.scoring import untruncate
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.weigh import explained_variance, gae, whiten


class ActorCritic(Protocol):
    """A policy and a critic asked together."""

    def evaluate(
        self, obs: Tensor, action: Tensor, chosen: Tensor, *, entropy: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability [B, T], entropy [B, T], and the value of every observation given.  obs
        [B, T or T+1, *O]
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Proximal(Judged):
    """With what actor and critic said before the update, near which they are to stay."""

    old_logp: Tensor  # [B, T]
    old_value: Tensor  # [B, T]


@dataclass(frozen=True)
class PPOSettings:
    gamma: float = 1.0
    gae_lambda: float = 0.95
    clip_low: float = 0.2
    clip_high: float = 0.2
    value_clip: float | None = 0.2
    value_coefficient: float = 0.5
    entropy_coefficient: float = 0.0
    whiten_advantage: bool = True
    epochs: int = 1  # passes over each batch of samples
    updates_per_step: int = 4  # optimizer steps over each batch of samples, all epochs together
    target_kl: float | None = (
        None  # nats per token between new and old policy that end the update early
    )
    ptx_coefficient: float = 0.0
    rows: Literal["trajectories", "steps"] = (
        "trajectories"  # what a batch is cut into for its optimizer steps
    )


class PPO:
    gradient_claim = (
        "biased: a learned critic bootstraps, advantages are whitened, and the mean is over tokens"
    )

    def __init__(
        self,
        actor_critic: ActorCritic,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: PPOSettings,
        *,
        generator: torch.Generator,
        reference: Policy | None = None,
        kl: KLControl | None = None,
        pretraining: tuple[TokenPolicy, Iterator[Trajectories]] | None = None,
    ) -> None:
        """pretraining: the policy and an endless supply of text rows for the γ_ptx term."""
        self.actor_critic, self.learner, self.stopwatch, self.settings = (
            actor_critic,
            learner,
            stopwatch,
            settings,
        )
        self.reference, self.kl, self.pretraining = reference, kl or KLControl(0.0), pretraining
        self.minibatches = Minibatches(
            settings.updates_per_step, settings.epochs, generator, kind=Proximal
        )

    @property
    def unfinished(self) -> Proximal | None:
        return self.minibatches.batch

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """All optimizer steps on one batch of samples. `between_steps` is called after each: a good
        moment to save and stop.
        """
        if self.unfinished is None:
            with self.stopwatch.phase("score"):
                judged, figures = self.weigh(*self.score(batch.to(self.learner.device)))
            self.minibatches.begin(
                judged.as_steps() if self.settings.rows == "steps" else judged, figures
            )
        with self.stopwatch.phase("fit"):
            figures = self.minibatches.run(self.fit, between_steps, self._far_enough)
        if self.reference is not None:
            self.kl.observe(figures["kl_k1"])
        return figures

    def _far_enough(self, step: Mapping[str, float]) -> bool:
        return self.settings.target_kl is not None and step["policy_kl"] > self.settings.target_kl

    @torch.no_grad()
    def score(self, batch: Trajectories) -> tuple[Trajectories, Tensor, Tensor, Tensor]:
        """The batch with the KL penalty in its reward; log π [B, T], the critic's values [B, T+1]
        and log π/π_ref [B, T], as in `kl_to`.
        """
        other = None if self.reference is None else untruncate(self.reference)
        rows = self.learner.rows_per_micro_batch or len(batch)
        logps, values, references = [], [], []
        for a in range(0, len(batch), rows):
            part = batch[a : a + rows]
            with self.learner.autocast():
                logp, _, value = self.actor_critic.evaluate(part.obs, part.action, part.chosen)
                logps.append(logp)
                values.append(value)
                if other is not None:
                    references.append(other.log_prob(part.obs, part.action, part.chosen))
        logp, value = torch.cat(logps), torch.cat(values)
        kl = kl_k1(logp, torch.cat(references)) if references else torch.zeros_like(logp)
        kl = torch.where(batch.chosen, kl, 0.0)
        reward = torch.where(batch.chosen, batch.reward - self.kl.beta * kl, 0.0)
        return batch.replace(reward=reward), logp, value, kl

    @torch.no_grad()
    def weigh(
        self, batch: Trajectories, logp: Tensor, value: Tensor, kl: Tensor
    ) -> tuple[Proximal, dict[str, float]]:
        """GAE with the whole batch in hand, whitened once, before it is cut."""
        s = self.settings
        advantage, target = gae(
            batch.reward,
            value,
            batch.chosen,
            batch.terminated,
            batch.truncated,
            s.gamma,
            s.gae_lambda,
        )
        rows = self.learner.count_rows(batch)
        distance = (
            {}
            if self.reference is None
            else {"kl_k1": kl, "kl_k3": kl_k3(kl, torch.zeros_like(kl))}
        )
        figures = {
            **{name: float(self.learner.sum(each.sum()) / rows) for name, each in distance.items()},
            "entropy": sampled_entropy(logp, batch.chosen, self.learner),
            **({} if self.reference is None else {"kl_coefficient": self.kl.beta}),
            "explained_variance": explained_variance(
                value[:, :-1], target, batch.chosen, self.learner.sum
            ),
            "drift": float(self.learner.sum(drift(logp, batch, self.learner.count(batch.chosen)))),
        }
        check_drift(figures["drift"])
        if s.whiten_advantage:
            advantage = whiten(advantage, batch.chosen, over_ranks=self.learner.sum)
        judged = Proximal.of(
            batch, weight=advantage, target=target, old_logp=logp, old_value=value[:, :-1]
        )
        return judged, figures

    def fit(self, batch: Proximal) -> dict[str, float]:
        """One optimizer step."""
        s = self.settings
        count = self.learner.count(batch.chosen)

        def loss(rows: Proximal) -> tuple[Tensor, Mapping[str, Tensor]]:
            old_logp = rows.old_logp
            logp, entropy, value = self.actor_critic.evaluate(
                rows.obs[:, :-1], rows.action, rows.chosen, entropy=s.entropy_coefficient != 0
            )
            policy_loss = total(
                clipped_ratio(logp, old_logp, rows.weight, s.clip_low, s.clip_high),
                rows.chosen,
                count,
            )
            value_loss = total(
                value_error(value, rows.target, rows.old_value, s.value_clip), rows.chosen, count
            )
            ratio = (logp.detach() - old_logp).exp()
            outside = ((ratio < 1 - s.clip_low) | (ratio > 1 + s.clip_high)).float()
            marks = {
                "policy_loss": policy_loss,
                "value_loss": value_loss,
                "clip_fraction": total(outside, rows.chosen, count),
                "policy_kl": total(kl_k3(old_logp, logp.detach()), rows.chosen, count),
            }
            loss = policy_loss + s.value_coefficient * value_loss
            if s.entropy_coefficient:
                marks["entropy"] = total(entropy, rows.chosen, count)
                loss = loss - s.entropy_coefficient * marks["entropy"]
            return loss, marks

        return self.learner.step(loss, batch, also=self._pretraining_term())

    def _pretraining_term(
        self,
    ) -> list[tuple[Callable[[Trajectories], tuple[Tensor, Mapping[str, Tensor]]], Trajectories]]:
        """γ_ptx·nll on a batch of text, so that the policy keeps what pre-training taught it."""
        if self.pretraining is None or not self.settings.ptx_coefficient:
            return []
        policy, texts = self.pretraining
        text = next(texts)
        count = self.learner.count(text.chosen)

        def loss(rows: Trajectories) -> tuple[Tensor, Mapping[str, Tensor]]:
            plain = total(
                nll(policy.log_prob(rows.obs, rows.action, rows.chosen)), rows.chosen, count
            )
            return self.settings.ptx_coefficient * plain, {"pretraining_loss": plain}

        return [(loss, text)]

    def state_dict(self) -> dict[str, Any]:
        texts = None if self.pretraining is None else self.pretraining[1]
        return {
            "learner": self.learner.state_dict(),
            "kl": self.kl.state_dict(),
            "minibatches": self.minibatches.state_dict(),
            "pretraining": None if texts is None else texts.state_dict(),  # pyright: ignore
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.kl.load_state_dict(state["kl"])
        self.minibatches.load_state_dict(state["minibatches"])
        if self.pretraining:
            self.pretraining[1].load_state_dict(state["pretraining"])  # pyright: ignore
