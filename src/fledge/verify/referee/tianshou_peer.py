"""Tianshou's PPO, A2C and DQN as peers: really built, a replay buffer filled with the rollout,
their own preprocessing and update do the rest. The optimizer is a recorder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import tianshou  # pyright: ignore[reportMissingImports]
import torch
from tianshou.algorithm.modelfree.a2c import A2C  # pyright: ignore[reportMissingImports]
from tianshou.algorithm.modelfree.dqn import (  # pyright: ignore[reportMissingImports]
    DQN,
    DiscreteQLearningPolicy,
)
from tianshou.algorithm.modelfree.ppo import PPO  # pyright: ignore[reportMissingImports]
from tianshou.algorithm.modelfree.reinforce import (  # pyright: ignore[reportMissingImports]
    DiscreteActorPolicy,
)
from tianshou.algorithm.optim import (  # pyright: ignore[reportMissingImports]
    AdamOptimizerFactory,
    TorchOptimizerFactory,
)
from tianshou.data import Batch, ReplayBuffer  # pyright: ignore[reportMissingImports]
from tianshou.utils.net.common import (  # pyright: ignore[reportMissingImports]
    ModuleWithVectorOutput,
)
from tianshou.utils.net.discrete import (  # pyright: ignore[reportMissingImports]
    DiscreteActor,
    DiscreteCritic,
)
from tianshou.utils.torch_utils import (  # pyright: ignore[reportMissingImports]
    policy_within_training_step,
)
from torch import Tensor, nn

from fledge.verify.referee.tianshou_resume import compare_saved
from fledge.verify.referee.world_question import ACTIONS, STATES, Rollout, WorldProblem

NEVER = 10**9  # updates between two copies of the target
RATE = 0.01  # of a run that is resumed


class OneHot(ModuleWithVectorOutput):
    """states [n] -> [n, S]"""

    def __init__(self) -> None:
        super().__init__(STATES)

    def forward(self, obs: Any, state: Any = None, info: Any = None) -> tuple[Tensor, Any]:
        states = torch.as_tensor(obs).long().flatten()
        return nn.functional.one_hot(states, STATES).float(), state


class Recorder(torch.optim.SGD):
    """Moves nothing and tells its peer."""

    def __init__(self, params: Any, peer: Any) -> None:
        super().__init__(params, lr=0.0)
        self.peer = peer

    def step(self, closure: Any = None) -> None:
        self.peer.taken.append(self.peer.read())


class TianshouPeer:
    version = tianshou.__version__

    def __init__(self, name: str, setting: dict[str, Any], problem: WorldProblem) -> None:
        self.name, self.problem, self.setting = name, problem, setting
        self.taken: list[Tensor] = []
        self.algorithm = self._make(TorchOptimizerFactory(Recorder, peer=self))
        self.critic: Any = getattr(self.algorithm, "critic", None)
        policy = self.algorithm.policy
        self.actor = policy.model if self.critic is None else policy.actor
        self._hold(problem.table)
        if self.critic is None and self.algorithm.use_target_network:
            self.algorithm.target_update_freq, self.algorithm._iter = NEVER, 1
            _write(_find_layer(self.algorithm.model_old), problem.target)

    def _make(self, optim: Any) -> Any:
        told = {"gamma": self.problem.gamma} | self.setting
        actor = DiscreteActor(
            preprocess_net=OneHot(), action_shape=ACTIONS, hidden_sizes=(), softmax_output=False
        )
        space = gymnasium.spaces.Discrete(ACTIONS)
        if self.name.endswith(":dqn"):
            policy = DiscreteQLearningPolicy(model=actor, action_space=space)
            return DQN(policy=policy, optim=optim, **told)
        critic = DiscreteCritic(preprocess_net=OneHot(), hidden_sizes=())
        kind = PPO if self.name.endswith(":ppo") else A2C
        told = {"gae_lambda": self.problem.trace} | told
        policy = DiscreteActorPolicy(actor=actor, action_space=space)
        return kind(policy=policy, critic=critic, optim=optim, **told)

    def resume(self) -> str:
        def begin() -> Any:
            torch.manual_seed(0)
            return self._make(AdamOptimizerFactory(lr=RATE))

        return compare_saved(begin)

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        batch = self._prepare(rollout)
        self._update(batch, len(rollout) // pieces)
        return -torch.stack(self.taken).mean(0)

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        batch = self._prepare(rollout)
        values = []
        for table in tables:
            self._hold(table)
            values.append(self._update(Batch(batch), len(rollout)))
        self._hold(self.problem.table)
        return values

    def read(self) -> Tensor:
        layers = [self.actor] if self.critic is None else [self.actor, self.critic]
        slopes = [_find_layer(layer).weight.grad for layer in layers]
        return torch.cat([slope.T.flatten().double() for slope in slopes if slope is not None])

    def _prepare(self, rollout: Rollout) -> Any:
        """Targets, advantages and old log-probabilities, by the algorithm's own preprocessing."""
        memory = ReplayBuffer(len(rollout))
        for t in range(len(rollout)):
            memory.add(
                Batch(
                    obs=rollout.state[t],
                    act=rollout.action[t],
                    rew=rollout.reward[t],
                    terminated=rollout.terminated[t],
                    truncated=rollout.truncated[t],
                    obs_next=rollout.following[t],
                    info={},
                )
            )
        with policy_within_training_step(self.algorithm.policy):
            batch, indices = memory.sample(0)
            return self.algorithm._preprocess_batch(batch, memory, indices)

    def _update(self, batch: Any, rows: int) -> float:
        self.taken.clear()
        with policy_within_training_step(self.algorithm.policy):
            if self.critic is None:
                return float(self.algorithm._update_with_batch(batch).loss)
            return float(self.algorithm._update_with_batch(batch, rows, 1).loss.mean)

    def _hold(self, table: Tensor) -> None:
        size = STATES * ACTIONS
        _write(_find_layer(self.actor), table[:size].view(STATES, ACTIONS))
        if self.critic is not None:
            _write(_find_layer(self.critic), table[size:, None])


def _find_layer(module: nn.Module) -> nn.Linear:
    return next(each for each in module.modules() if isinstance(each, nn.Linear))


@torch.no_grad()
def _write(layer: nn.Linear, table: Tensor) -> None:
    """table [S, width]"""
    layer.weight.copy_(table.T)
    layer.bias.zero_()


def build_peer(peer: str, setting: dict[str, Any], problem: WorldProblem) -> TianshouPeer:
    return TianshouPeer(peer, setting, problem)


version = tianshou.__version__
