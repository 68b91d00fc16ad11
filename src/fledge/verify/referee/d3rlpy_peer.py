"""d3rlpy's DQN and double DQN as peers: really built, their own `compute_grad` on a batch of the
rollout's steps. The networks are tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import d3rlpy  # pyright: ignore[reportMissingImports]
import torch
from d3rlpy.torch_utility import TorchMiniBatch  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from fledge.verify.referee.d3rlpy_resume import compare_saved
from fledge.verify.referee.world_question import ACTIONS, STATES, Rollout, WorldProblem

KINDS = {"dqn": d3rlpy.algos.DQNConfig, "double_dqn": d3rlpy.algos.DoubleDQNConfig}


class D3rlpyDqn:
    version = d3rlpy.__version__

    def __init__(self, name: str, setting: dict[str, Any], problem: WorldProblem) -> None:
        self.name, self.problem, self.setting = name, problem, setting
        self.impl: Any = self._make().impl
        self.online = _find_layer(self.impl._modules.q_funcs)
        _write(self.online, problem.critic)
        _write(_find_layer(self.impl._modules.targ_q_funcs), problem.target)

    def _make(self, **own: Any) -> Any:
        flat = d3rlpy.models.VectorEncoderFactory([STATES], exclude_last_activation=True)
        told = {"gamma": self.problem.gamma} | own | self.setting
        config = KINDS[self.name.partition(":")[2]](encoder_factory=flat, **told)
        algorithm: Any = config.create(device="cpu:0")
        algorithm.create_impl((STATES,), ACTIONS)
        return algorithm

    def resume(self) -> str:
        def build() -> Any:
            return self._make(batch_size=8, learning_rate=0.01, target_update_interval=8)

        return compare_saved(build, self.problem)

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        self.impl.compute_grad(_batch(rollout))
        slope = self.online.weight.grad
        assert slope is not None
        return -slope.T.flatten().double()

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        batch = _batch(rollout)
        target = self.impl.compute_target(batch)
        values = []
        for table in [*tables, self.problem.table]:
            _write(self.online, table.view(STATES, ACTIONS))
            values.append(float(self.impl.compute_loss(batch, target).loss))
        return values[:-1]


def _batch(rollout: Rollout) -> TorchMiniBatch:
    """Its rows know `terminals` alone; a time limit ends an episode, not a row."""

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32)[:, None]

    def one_hot(states: Sequence[int]) -> Tensor:
        return nn.functional.one_hot(torch.tensor(states), STATES).float()

    n = len(rollout)
    return TorchMiniBatch(
        observations=one_hot(rollout.state),
        actions=torch.tensor(rollout.action)[:, None],
        rewards=column(rollout.reward),
        next_observations=one_hot(rollout.following),
        next_actions=torch.zeros(n, 1),
        returns_to_go=torch.zeros(n, 1),
        terminals=column([float(over) for over in rollout.terminated]),
        intervals=torch.ones(n, 1),
        device="cpu:0",
    )


def _find_layer(module: nn.Module) -> nn.Linear:
    """The layer whose rows are Q; the encoder below it, which there must be, hands states on."""
    first, last = (each for each in module.modules() if isinstance(each, nn.Linear))
    _write(first, torch.eye(STATES))
    return last


@torch.no_grad()
def _write(layer: nn.Linear, table: Tensor) -> None:
    """table [S, A]"""
    layer.weight.copy_(table.T)
    layer.bias.zero_()


def build_peer(peer: str, setting: dict[str, Any], problem: WorldProblem) -> D3rlpyDqn:
    return D3rlpyDqn(peer, setting, problem)


version = d3rlpy.__version__
