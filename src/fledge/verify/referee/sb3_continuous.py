"""Stable-Baselines3's TD3 and SAC as peers: really built, their own replay buffer and `train`. The
optimizers are recorders, and the noise starts at one seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3  # pyright: ignore[reportMissingImports]
import torch
from stable_baselines3 import SAC, TD3  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from fledge.verify.referee.continuous import DONE, SEED, ContinuousProblem
from fledge.verify.referee.sb3_peer import Script
from fledge.verify.referee.sb3_resume import OFF_POLICY, compare_saved
from fledge.verify.referee.world_question import STATES, Rollout


class Sb3Continuous:
    version = stable_baselines3.__version__

    def __init__(self, name: str, setting: dict[str, Any], problem: ContinuousProblem) -> None:
        self.name, self.problem = name, problem
        self.sac = name.endswith(":sac")
        world: Any = Script()
        world.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
        world.rollout = Rollout((0,), (0,), (0.0,), (0,), (False,), (False,))
        kind: Any = SAC if self.sac else TD3
        # Both parts in every update.
        told = {"gamma": problem.gamma} | ({} if self.sac else {"policy_delay": 1}) | setting
        self.learner: Any = kind(
            "MlpPolicy",
            world,
            policy_kwargs={"net_arch": []},
            buffer_size=64,
            tau=0.0,
            device="cpu",
            **told,
        )
        self.learner._setup_learn(10**6, None)
        self.taken: dict[str, Tensor] = {}
        self._hold(problem.table)
        targets = self.learner.critic_target.q_networks
        for net, values in zip(targets, problem.targets, strict=True):
            _write(net[0], values[None])
        if not self.sac:
            _write(self.learner.actor_target.mu[0], problem.target_actor[None])
        self.learner.critic.optimizer.step = lambda: self._record("critic")
        self.learner.actor.optimizer.step = lambda: self._record("actor")
        if self.sac and self.learner.ent_coef_optimizer is not None:
            self.learner.ent_coef_optimizer.step = lambda: None

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        self._train(rollout)
        return -torch.cat([self.taken["critic"], self.taken["actor"]])

    def resume(self) -> str:
        return compare_saved(SAC if self.sac else TD3, True, **OFF_POLICY)

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        """The loss of that part which was moved: neither part takes the gradient of the other's."""
        size = self.problem.critics.numel()
        values = []
        for table in tables:
            self._hold(table)
            critic, actor = self._train(rollout)
            moved = not torch.equal(table[:size], self.problem.table[:size])
            values.append(critic if moved else actor)
        self._hold(self.problem.table)
        return values

    def _layers(self) -> list[nn.Linear]:
        actor = self.learner.actor
        heads = [actor.mu, actor.log_std] if self.sac else [actor.mu[0]]
        return [*(net[0] for net in self.learner.critic.q_networks), *heads]

    def _hold(self, table: Tensor) -> None:
        at = 0
        for layer in self._layers():
            size = layer.weight.numel()
            _write(layer, table[None, at : at + size])
            at += size

    def _record(self, part: str) -> None:
        layers = self._layers()[:2] if part == "critic" else self._layers()[2:]
        slopes = [layer.weight.grad for layer in layers]
        flat = [slope.flatten().double().clone() for slope in slopes if slope is not None]
        self.taken[part] = torch.cat(flat)

    def _train(self, rollout: Rollout) -> tuple[float, float]:
        memory = self.learner.replay_buffer
        memory.reset()
        n = len(rollout)
        for t in range(n):
            memory.add(
                np.array([rollout.state[t]]),
                np.array([rollout.following[t]]),
                np.array([[DONE[rollout.action[t]]]]),
                np.array([rollout.reward[t]]),
                np.array([rollout.terminated[t] or rollout.truncated[t]]),
                [{"TimeLimit.truncated": rollout.truncated[t]}],
            )
        memory.sample = lambda *ignored, **more: memory._get_samples(np.arange(n), env=None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self.learner.train(1, n)
        said = self.learner.logger.name_to_value
        return float(said["train/critic_loss"]), float(said["train/actor_loss"])


@torch.no_grad()
def _write(layer: nn.Linear, values: Tensor) -> None:
    """values [1, width]"""
    layer.weight.copy_(values)
    layer.bias.zero_()


def build_peer(peer: str, setting: dict[str, Any], problem: ContinuousProblem) -> Sb3Continuous:
    assert problem.critics.shape[1] - 1 == STATES
    return Sb3Continuous(peer, setting, problem)


version = stable_baselines3.__version__
