"""TorchRL's objectives as peers: ClipPPOLoss, A2CLoss, ReinforceLoss (beside its own GAE) and
DQNLoss, called on a rollout in the tensordict that its collectors fill.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torchrl  # pyright: ignore[reportMissingImports]
from tensordict import TensorDict  # pyright: ignore[reportMissingImports]
from tensordict.nn import TensorDictModule  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn
from torchrl.modules import (  # pyright: ignore[reportMissingImports]
    ProbabilisticActor,
    QValueActor,
    ValueOperator,
)
from torchrl.objectives import (  # pyright: ignore[reportMissingImports]
    A2CLoss,
    ClipPPOLoss,
    DQNLoss,
    ReinforceLoss,
)
from torchrl.objectives.value import GAE  # pyright: ignore[reportMissingImports]

from fledge.verify.referee.world_question import ACTIONS, STATES, Rollout, WorldProblem

KINDS = {"clip_ppo": ClipPPOLoss, "a2c": A2CLoss, "reinforce": ReinforceLoss}


class Table(nn.Module):
    """A row a state.  states [n] -> [n, width]"""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.clone())

    def forward(self, state: Tensor) -> Tensor:
        return self.values[state]


def write(rollout: Rollout) -> TensorDict:
    """The rollout as a collector writes it: done is either end, terminated one of them.  [n]"""
    over = [a or b for a, b in zip(rollout.terminated, rollout.truncated, strict=True)]
    following = {
        "observation": torch.tensor(rollout.following),
        "reward": torch.tensor(rollout.reward, dtype=torch.float64)[:, None],
        "done": torch.tensor(over)[:, None],
        "terminated": torch.tensor(rollout.terminated)[:, None],
        "truncated": torch.tensor(rollout.truncated)[:, None],
    }
    n = len(rollout)
    return TensorDict(
        {
            "observation": torch.tensor(rollout.state),
            "action": torch.tensor(rollout.action),
            "next": TensorDict(following, [n]),
        },
        [n],
    )


class TorchRlActor:
    """An actor's objective, its advantages those of TorchRL's GAE at the same λ."""

    version = torchrl.__version__

    def __init__(self, name: str, setting: dict[str, Any], problem: WorldProblem) -> None:
        self.name, self.problem = name, problem
        self.policy, self.value = Table(problem.logits), Table(problem.critic[:, None])
        actor = ProbabilisticActor(
            TensorDictModule(self.policy, in_keys=["observation"], out_keys=["logits"]),
            in_keys=["logits"],
            distribution_class=torch.distributions.Categorical,
            return_log_prob=True,
        )
        critic = ValueOperator(self.value, in_keys=["observation"])
        told = {key: value for key, value in setting.items() if key not in ("gamma", "lmbda")}
        kind = KINDS[name.partition(":")[2]]
        # Two of the three take any other keyword without a word.
        unknown = told.keys() - inspect.signature(kind).parameters.keys()
        if unknown:
            raise TypeError(f"{kind.__name__} has no argument {min(unknown)}")
        self.loss: Any = kind(actor, critic, functional=False, **told)
        self.gae: Any = GAE(gamma=problem.gamma, lmbda=problem.trace, value_network=critic)

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        data = self._prepare(rollout)
        each = len(rollout) // pieces
        total = torch.zeros_like(self.problem.table)
        for at in range(0, len(rollout), each):
            for table in (self.policy, self.value):
                table.values.grad = None
            self._lose(data[at : at + each]).backward()
            slopes = [table.values.grad for table in (self.policy, self.value)]
            total -= torch.cat([s.flatten() for s in slopes if s is not None]) / pieces
        return total

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        data = self._prepare(rollout)
        values = []
        for table in [*tables, self.problem.table]:
            with torch.no_grad():
                size = self.problem.logits.numel()
                self.policy.values.copy_(table[:size].view_as(self.policy.values))
                self.value.values.copy_(table[size:, None])
            values.append(float(self._lose(data)))
        return values[:-1]

    @torch.no_grad()
    def _prepare(self, rollout: Rollout) -> TensorDict:
        data = write(rollout)
        logp = self.problem.logits.log_softmax(-1)
        data["action_log_prob"] = logp[data["observation"], data["action"]]
        return self.gae(data)

    def _lose(self, data: TensorDict) -> Tensor:
        """The sum of all that it names a loss."""
        out = self.loss(data.clone())
        named = [key for key in list(out.keys()) if key.startswith("loss_")]
        return torch.stack([out[key].sum() for key in named]).sum()


class TorchRlDqn:
    version = torchrl.__version__

    def __init__(self, name: str, setting: dict[str, Any], problem: WorldProblem) -> None:
        self.name, self.problem = name, problem
        told = {"gamma": problem.gamma} | setting
        gamma = told.pop("gamma")
        self.table = Table(problem.critic)
        net = QValueActor(self.table, in_keys=["observation"], action_space="categorical")
        self.loss: Any = DQNLoss(net, action_space="categorical", delay_value=True, **told)
        self.loss.make_value_estimator(gamma=gamma)
        parameters = list(self.loss.value_network_params.values(True, True))
        targets = list(self.loss.target_value_network_params.values(True, True))
        (self.online,), (target,) = parameters, targets
        target.data.copy_(problem.target)

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        self.online.grad = None
        self.loss(write(rollout))["loss"].backward()
        slope: Any = self.online.grad
        return -slope.flatten()

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        values = []
        for table in [*tables, self.problem.table]:
            self.online.data.copy_(table.view(STATES, ACTIONS))
            values.append(float(self.loss(write(rollout))["loss"]))
        return values[:-1]


def build_peer(peer: str, setting: dict[str, Any], problem: WorldProblem) -> Any:
    kind = TorchRlDqn if peer.endswith(":dqn") else TorchRlActor
    return kind(peer, setting, problem)


version = torchrl.__version__
