"""RLax's losses as peers, put together as its documents do: its own GAE, policy-gradient, entropy,
Q-learning and elementwise losses, differentiated by JAX in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
import rlax  # pyright: ignore[reportMissingImports]
import torch
from torch import Tensor

from fledge.verify.referee.world_question import ACTIONS, STATES, Rollout, WorldProblem

jax.config.update("jax_enable_x64", True)
SIZE = STATES * ACTIONS


class RlaxPeer:
    """setting: entropy, the weight of `entropy_loss`; loss, of the temporal differences."""

    version = rlax.__version__

    def __init__(self, name: str, setting: dict[str, Any], problem: WorldProblem) -> None:
        self.name, self.problem, self.kind = name, problem, name.partition(":")[2]
        self.setting = setting
        known = {"gamma", "loss"} if problem.critic.dim() == 2 else {"entropy", "gamma", "lmbda"}
        if unknown := set(setting) - known:
            raise ValueError(f"there is no {min(unknown)}: give {', '.join(sorted(known))}")
        if setting.get("loss", "l2") not in ("l2", "huber"):
            raise ValueError("loss is l2 or huber")

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        slope = jax.grad(self._fix(rollout))(jnp.asarray(self.problem.table.numpy()))
        return -torch.from_numpy(np.array(slope))

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        loss = self._fix(rollout)
        return [float(loss(jnp.asarray(table.numpy()))) for table in tables]

    def _fix(self, rollout: Rollout) -> Any:
        """The loss of a flat table."""
        lose = self._fix_actor if self.problem.critic.dim() == 1 else self._fix_values
        return lose(rollout)

    def _fix_actor(self, rollout: Rollout) -> Any:
        p = self.problem
        state, action = np.array(rollout.state), np.array(rollout.action)
        value = p.critic.numpy()
        # One number a step says that nothing follows: a time limit has no other.
        over = np.array(rollout.terminated) | np.array(rollout.truncated)
        values = jnp.asarray(value[np.append(state, rollout.following[-1])])
        discount = jnp.asarray(p.gamma * ~over)
        reward = jnp.asarray(rollout.reward)
        advantage = rlax.truncated_generalized_advantage_estimation(
            reward, discount, p.trace, values
        )
        target = advantage + values[:-1]
        ones = jnp.ones(len(rollout))
        old = jnp.asarray(p.logits.log_softmax(-1).numpy()[state, action])

        def lose(table: Any) -> Any:
            logits = table[:SIZE].reshape(STATES, ACTIONS)[state]
            if self.kind == "clipped_surrogate":
                logp = jax.nn.log_softmax(logits)[jnp.arange(len(state)), action]
                policy = rlax.clipped_surrogate_pg_loss(jnp.exp(logp - old), advantage, 0.2)
            else:
                policy = rlax.policy_gradient_loss(logits, jnp.asarray(action), advantage, ones)
            loss = policy + jnp.mean(rlax.l2_loss(table[SIZE:][state], target))
            if self.setting.get("entropy"):
                loss = loss + self.setting["entropy"] * rlax.entropy_loss(logits, ones)
            return loss

        return lose

    def _fix_values(self, rollout: Rollout) -> Any:
        p = self.problem
        state, following = np.array(rollout.state), np.array(rollout.following)
        action, reward = jnp.asarray(rollout.action), jnp.asarray(rollout.reward)
        discount = jnp.asarray(p.gamma * ~np.array(rollout.terminated))
        ahead = jnp.asarray(p.target.numpy())[following]
        chooser = jnp.asarray(p.critic.numpy())[following]
        shape = rlax.huber_loss if self.setting.get("loss") == "huber" else rlax.l2_loss

        def lose(table: Any) -> Any:
            said = table.reshape(STATES, ACTIONS)[state]
            if self.kind == "double_q_learning":
                gap = jax.vmap(rlax.double_q_learning)(
                    said, action, reward, discount, ahead, chooser
                )
            else:
                gap = jax.vmap(rlax.q_learning)(said, action, reward, discount, ahead)
            return jnp.mean(shape(gap))

        return lose


def build_peer(peer: str, setting: dict[str, Any], problem: WorldProblem) -> RlaxPeer:
    return RlaxPeer(peer, setting, problem)


version = rlax.__version__
