"""verl's advantages and losses as peers: its registered advantage estimators, then the `ppo_loss`
that its workers call for each micro-batch, with the counts of the whole mini-batch as its engine
hands them over. Its trainers want Ray, a rollout engine and GPUs, and are not built.
"""

from __future__ import annotations

from importlib.metadata import version as read_version
from typing import Any

import torch
from tensordict import TensorDict  # pyright: ignore[reportMissingImports]
from torch import Tensor
from verl.trainer.config import AlgoConfig  # pyright: ignore[reportMissingImports]
from verl.trainer.ppo.core_algos import (  # pyright: ignore[reportMissingImports]
    get_adv_estimator_fn,
    kl_penalty,
)
from verl.utils import tensordict_utils  # pyright: ignore[reportMissingImports]
from verl.workers.config import ActorConfig, PolicyLossConfig  # pyright: ignore
from verl.workers.utils.losses import ppo_loss  # pyright: ignore[reportMissingImports]

from fledge.exact.problem import Problem
from fledge.verify.referee.loss_rows import LossPeer, Rows
from fledge.verify.referee.question import GROUP, Step

version = read_version("verl")
# Fields of its `algorithm`; all others are of its `actor`.
ALGORITHM = ("norm_adv_by_std_in_grpo", "use_kl_in_reward", "kl_penalty", "gamma")


class VerlPolicy(LossPeer):
    """estimator: a name of its registry of advantages."""

    version = version

    def __init__(self, estimator: str, setting: dict[str, Any], problem: Problem) -> None:
        super().__init__(problem)
        self.name, self.estimator = f"verl:{estimator}", estimator
        own = {key: value for key, value in setting.items() if key in ALGORITHM}
        self.algorithm = AlgoConfig(**({"adv_estimator": estimator} | own))
        actor = {key: value for key, value in setting.items() if key not in ALGORITHM}
        mode = actor.pop("loss_mode", "vanilla")
        self.actor = ActorConfig(
            strategy="fsdp",
            rollout_n=GROUP,
            ppo_micro_batch_size_per_gpu=1,
            policy_loss=PolicyLossConfig(loss_mode=mode),
            kl_loss_coef=problem.beta,
            **actor,
        )

    def lose(self, rows: Rows, step: Step) -> Tensor:
        advantage = self._advantages(rows)
        each = len(step.words) // step.pieces
        tokens, total = float(rows.mask.sum()), rows.logp.new_zeros(())
        for at in range(0, len(step.words), each):
            part = rows.part(at, at + each)
            data = _pack(part, advantage[at : at + each], self.problem.language.vocabulary)
            tensordict_utils.assign_non_tensor(
                data, dp_size=1, batch_num_tokens=tokens, global_batch_size=len(step.words)
            )
            loss, _ = ppo_loss(self.actor, {"log_probs": _lay_end_to_end(part)}, data)
            total = total + loss
        return total

    @torch.no_grad()
    def _advantages(self, rows: Rows) -> Tensor:
        """A row's reward stands at its last step, as its trainer puts it.  [B, W]"""
        reward = torch.zeros_like(rows.mask)
        reward[torch.arange(len(reward)), rows.length - 1] = rows.reward
        if self.algorithm.use_kl_in_reward:
            apart = kl_penalty(rows.old, rows.reference, self.algorithm.kl_penalty)
            reward = reward - self.problem.beta * apart * rows.mask
        more: dict[str, Any] = {}
        if self.estimator == "grpo":
            more["norm_adv_by_std_in_grpo"] = self.algorithm.norm_adv_by_std_in_grpo
        advantage, _ = get_adv_estimator_fn(self.estimator)(
            token_level_rewards=reward,
            response_mask=rows.mask,
            index=rows.group.numpy(),
            config=self.algorithm,
            **more,
        )
        return advantage


def _pack(rows: Rows, advantage: Tensor, opening: int) -> Any:
    """A micro-batch as its workers hold it: one token of prompt, responses padded on the right."""
    ones = torch.ones(len(rows.mask), 1, dtype=torch.long)
    data = {
        "prompts": ones * opening,
        "responses": torch.zeros_like(rows.mask).long(),
        "attention_mask": torch.cat([ones, rows.mask.long()], 1),
        "response_mask": rows.mask,
        "old_log_probs": rows.old,
        "advantages": advantage,
        "ref_log_prob": rows.reference,
    }
    return TensorDict(data, batch_size=[len(rows.mask)])


def _lay_end_to_end(rows: Rows) -> Tensor:
    """The model's output without padding: of each row its steps, and one that looks past them."""
    return torch.cat(
        [
            torch.cat([row[:length], row.new_zeros(1)])
            for row, length in zip(rows.logp, rows.length.tolist(), strict=True)
        ]
    )


def build_peer(peer: str, setting: dict[str, Any], problem: Problem) -> VerlPolicy:
    return VerlPolicy(peer.partition(":")[2], setting, problem)
