"""Stable-Baselines3's PPO, A2C and DQN, and sb3-contrib's TRPO, as peers: really built over a
scripted world, their own `collect_rollouts` and `train` do the rest.

The networks are tables (one layer over a one-hot state). What a policy samples is replaced by what
was done, and the optimizer by a recorder; norms of gradients are not clipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3  # pyright: ignore[reportMissingImports]
import torch
from stable_baselines3 import A2C, DQN, PPO  # pyright: ignore[reportMissingImports]
from torch import Tensor

from fledge.verify.referee.sb3_resume import OFF_POLICY, compare_saved
from fledge.verify.referee.world_question import ACTIONS, STATES, Rollout, WorldProblem

NO_CLIP = 1e9


class Script(gymnasium.Env[Any, Any]):
    """A world that lives through a rollout, whatever is done in it."""

    observation_space = gymnasium.spaces.Discrete(STATES)
    action_space = gymnasium.spaces.Discrete(ACTIONS)

    def __init__(self) -> None:
        self.rollout: Rollout | None = None
        self.at = 0

    def reset(self, **ignored: Any) -> tuple[int, dict[str, Any]]:
        assert self.rollout is not None
        return self.rollout.state[self.at % len(self.rollout)], {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        assert self.rollout is not None
        at, self.at = self.at, self.at + 1
        r = self.rollout
        return r.following[at], r.reward[at], r.terminated[at], r.truncated[at], {}


class Sb3Actor:
    """PPO, A2C or TRPO."""

    def __init__(
        self, name: str, kind: Any, version: str, setting: dict[str, Any], p: WorldProblem
    ):
        self.name, self.kind, self.version, self.problem = name, kind, version, p
        self.setting = {"gamma": p.gamma, "gae_lambda": p.trace} | setting
        self.built: dict[tuple[int, int], tuple[Any, Script]] = {}
        self.taken: list[Tensor] = []

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        learner = self._collect(rollout, pieces)
        self._train(learner)
        return -torch.stack(self.taken).mean(0)

    def resume(self) -> str:
        more: dict[str, Any] = {} if self.kind is A2C else {"batch_size": 8}
        return compare_saved(self.kind, False, n_steps=8, **more, **self.setting)

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        learner = self._collect(rollout, 1)
        values = []
        for table in tables:
            hold(learner.policy, table)
            learner.rollout_buffer.generator_ready = True
            values.append(self._train(learner))
        hold(learner.policy, self.problem.table)
        return values

    def _collect(self, rollout: Rollout, pieces: int) -> Any:
        key = (len(rollout), pieces)
        if key not in self.built:
            self.built[key] = self._build(*key)
        learner, world = self.built[key]
        world.rollout, world.at = rollout, 0
        learner._last_obs = learner.env.reset()
        learner._last_episode_starts[:] = True
        policy = learner.policy

        def act(obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
            done = torch.tensor([rollout.action[world.at]])
            value, logp, _ = policy.evaluate_actions(obs, done)
            return done, value, logp

        policy.forward = act
        _, callback = learner._setup_learn(10**6, None, reset_num_timesteps=False)
        learner.collect_rollouts(learner.env, callback, learner.rollout_buffer, len(rollout))
        return learner

    def _train(self, learner: Any) -> float:
        self.taken.clear()
        with torch.random.fork_rng(devices=[]):
            learner.train()
        said = learner.logger.name_to_value
        if "train/loss" in said:
            return float(said["train/loss"])
        loss = float(said["train/policy_loss"]) + learner.vf_coef * float(said["train/value_loss"])
        return loss + learner.ent_coef * float(said["train/entropy_loss"])

    def _build(self, steps: int, pieces: int) -> tuple[Any, Script]:
        world = Script()
        world.rollout = Rollout((0,), (0,), (0.0,), (0,), (False,), (False,))
        more: dict[str, Any] = {} if self.kind is A2C else {"batch_size": steps // pieces}
        if self.kind in (A2C, PPO):
            more["max_grad_norm"] = NO_CLIP
        if self.kind is PPO:
            more["n_epochs"] = 1
        learner: Any = self.kind(
            "MlpPolicy",
            world,
            n_steps=steps,
            policy_kwargs={"net_arch": []},
            device="cpu",
            **more,
            **self.setting,
        )
        learner._setup_learn(10**6, None)
        hold(learner.policy, self.problem.table)
        learner.policy.optimizer.step = lambda: self.taken.append(read_gradient(learner.policy))
        return learner, world


class Sb3Trpo(Sb3Actor):
    """The gradient of its surrogate, before the curvature turns it; the critic's beside it."""

    slope: Tensor
    objective: float

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        learner = self._collect(rollout, pieces)
        self._train(learner)
        critics = torch.stack(self.taken)[:, self.slope.numel() :].mean(0)
        return torch.cat([self.slope, -critics])

    def _build(self, steps: int, pieces: int) -> tuple[Any, Script]:
        learner, world = super()._build(steps, pieces)
        learner.n_critic_updates = 1
        original = learner._compute_actor_grad

        def compute(divergence: Tensor, objective: Tensor) -> Any:
            self.objective = float(objective.detach())
            answer = original(divergence, objective)
            weight = learner.policy.action_net.weight
            at = next(i for i, each in enumerate(answer[0]) if each is weight)
            before = sum(each.numel() for each in answer[0][:at])
            flat = answer[1][before : before + weight.numel()]
            self.slope = flat.view_as(weight).T.flatten().double().clone()
            return answer

        learner._compute_actor_grad = compute
        return learner, world

    def _train(self, learner: Any) -> float:
        self.taken.clear()
        table = read_table(learner.policy)
        learner.train()
        hold(learner.policy, table)  # it sets its actor in place, without an optimizer
        return float(learner.logger.name_to_value["train/value_loss"]) - self.objective


class Sb3Dqn:
    """Replayed steps in place of what its buffer samples; the Q-table and its target's."""

    def __init__(self, setting: dict[str, Any], problem: WorldProblem) -> None:
        self.name, self.version = "stable_baselines3:dqn", stable_baselines3.__version__
        self.problem = problem
        self.taken: list[Tensor] = []
        world = Script()
        world.rollout = Rollout((0,), (0,), (0.0,), (0,), (False,), (False,))
        self.learner: Any = DQN(
            "MlpPolicy",
            world,
            policy_kwargs={"net_arch": []},
            max_grad_norm=NO_CLIP,
            buffer_size=64,
            device="cpu",
            **({"gamma": problem.gamma} | setting),
        )
        self.learner._setup_learn(10**6, None)
        self._hold(self.learner.q_net, problem.critic)
        self._hold(self.learner.q_net_target, problem.target)
        self.learner.policy.optimizer.step = lambda: self.taken.append(
            self.learner.q_net.q_net[-1].weight.grad.T.flatten().double().clone()
        )

    def resume(self) -> str:
        return compare_saved(DQN, False, **OFF_POLICY)

    @torch.no_grad()
    def _hold(self, net: Any, table: Tensor) -> None:
        net.q_net[-1].weight.copy_(table.view(STATES, ACTIONS).T)
        net.q_net[-1].bias.zero_()

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        each = len(rollout) // pieces
        self.taken.clear()
        for at in range(0, len(rollout), each):
            self._train(rollout, at, at + each)
        return -torch.stack(self.taken).mean(0)

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        values = []
        for table in tables:
            self._hold(self.learner.q_net, table)
            values.append(self._train(rollout, 0, len(rollout)))
        self._hold(self.learner.q_net, self.problem.critic)
        return values

    def _train(self, rollout: Rollout, start: int, end: int) -> float:
        """The buffer holds these steps alone, and its sample is each of them once."""
        memory = self.learner.replay_buffer
        memory.reset()
        for t in range(start, end):
            over = rollout.terminated[t] or rollout.truncated[t]
            memory.add(
                np.array([rollout.state[t]]),
                np.array([rollout.following[t]]),
                np.array([rollout.action[t]]),
                np.array([rollout.reward[t]]),
                np.array([over]),
                [{"TimeLimit.truncated": rollout.truncated[t]}],
            )
        memory.sample = lambda *ignored, **more: memory._get_samples(
            np.arange(end - start), env=None
        )
        self.learner.train(1, end - start)
        return float(self.learner.logger.name_to_value["train/loss"])


@torch.no_grad()
def hold(policy: Any, table: Tensor) -> None:
    """table [S·A + S]"""
    policy.action_net.weight.copy_(table[: STATES * ACTIONS].view(STATES, ACTIONS).T)
    policy.value_net.weight.copy_(table[None, STATES * ACTIONS :])
    policy.action_net.bias.zero_()
    policy.value_net.bias.zero_()


def read_table(policy: Any) -> Tensor:
    parts = (policy.action_net.weight.T, policy.value_net.weight)
    return torch.cat([part.detach().double().flatten() for part in parts])


def read_gradient(policy: Any) -> Tensor:
    parts = []
    for layer, turned in ((policy.action_net, True), (policy.value_net, False)):
        slope = layer.weight.grad
        slope = torch.zeros_like(layer.weight) if slope is None else slope
        parts.append((slope.T if turned else slope).flatten().double().clone())
    return torch.cat(parts)


def build_peer(peer: str, setting: dict[str, Any], problem: WorldProblem) -> Any:
    package, _, kind = peer.partition(":")
    if package == "sb3_contrib":
        import sb3_contrib  # pyright: ignore[reportMissingImports]

        return Sb3Trpo(peer, sb3_contrib.TRPO, sb3_contrib.__version__, setting, problem)
    if kind == "dqn":
        return Sb3Dqn(setting, problem)
    kinds = {"ppo": PPO, "a2c": A2C}
    return Sb3Actor(peer, kinds[kind], stable_baselines3.__version__, setting, problem)


version = stable_baselines3.__version__
