"""imitation's behavioural cloning and its maximum causal entropy IRL as peers: really built, their
own `train` on one batch of demonstrated steps, or one iteration on demonstrated episodes. The
optimizers are recorders.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version as read_version
from typing import Any

import gymnasium
import numpy as np
import torch
from imitation.algorithms.bc import BC  # pyright: ignore[reportMissingImports]
from imitation.algorithms.mce_irl import MCEIRL  # pyright: ignore[reportMissingImports]
from imitation.data.types import Trajectory  # pyright: ignore[reportMissingImports]
from imitation.rewards.reward_nets import BasicRewardNet  # pyright: ignore[reportMissingImports]
from seals.base_envs import TabularModelPOMDP  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.policies import (  # pyright: ignore[reportMissingImports]
    ActorCriticPolicy,
)
from torch import Tensor, nn

from fledge.verify.referee import inverse
from fledge.verify.referee.sb3_peer import hold, read_gradient
from fledge.verify.referee.world_question import ACTIONS, STATES, Rollout, WorldProblem

version = read_version("imitation")


class CloningPeer:
    def __init__(self, name: str, setting: dict[str, Any], problem: WorldProblem) -> None:
        self.name, self.version, self.problem = name, version, problem
        self.setting = setting
        states = gymnasium.spaces.Discrete(STATES)
        actions = gymnasium.spaces.Discrete(ACTIONS)
        self.policy: Any = ActorCriticPolicy(states, actions, lambda _: 1.0, net_arch=[])
        hold(self.policy, problem.table)
        self.taken: list[Tensor] = []

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        self._train(rollout, pieces)
        return -torch.stack(self.taken).mean(0)

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        values = []
        for table in tables:
            hold(self.policy, table)
            values.append(self._train(rollout, 1))
        hold(self.policy, self.problem.table)
        return values

    def _train(self, rollout: Rollout, pieces: int) -> float:
        self.taken.clear()
        learner: Any = BC(
            observation_space=self.policy.observation_space,
            action_space=self.policy.action_space,
            rng=np.random.default_rng(0),
            policy=self.policy,
            batch_size=len(rollout),
            minibatch_size=len(rollout) // pieces,
            **self.setting,
        )
        each = len(rollout) // pieces
        obs, acts = np.array(rollout.state), np.array(rollout.action)
        learner.set_demonstrations(
            [
                {"obs": obs[at : at + each], "acts": acts[at : at + each]}
                for at in range(0, len(rollout), each)
            ]
        )
        learner.optimizer.step = lambda: self.taken.append(read_gradient(self.policy))
        said: list[float] = []
        lose = learner.loss_calculator

        def tell(*given: Any) -> Any:
            metrics = lose(*given)
            said.append(float(metrics.loss))
            return metrics

        learner.loss_calculator = tell
        learner.train(n_epochs=1, progress_bar=False, log_interval=10**9)
        return sum(said) / len(said)


class InversePeer:
    """The reward is one layer over one-hot states. Its loss holds its own counts fixed, so that it
    has no `losses`: a second way is sampled.
    """

    def __init__(self, name: str, setting: dict[str, Any], problem: inverse.InverseProblem) -> None:
        self.name, self.version, self.problem = name, version, problem
        world = problem.world
        place = TabularModelPOMDP(
            transition_matrix=world.transition.permute(1, 0, 2).numpy(),
            observation_matrix=np.eye(inverse.STATES),
            reward_matrix=np.zeros(inverse.STATES),
            horizon=world.horizon,
            initial_state_dist=world.start.numpy(),
        )
        net: Any = BasicRewardNet(
            place.observation_space,
            place.action_space,
            use_action=False,
            hid_sizes=[],
        ).double()
        (self.layer,) = [each for each in net.modules() if isinstance(each, nn.Linear)]
        self.learner: Any = MCEIRL(
            None,
            place,
            net,
            np.random.default_rng(0),
            optimizer_cls=torch.optim.SGD,
            optimizer_kwargs={"lr": 0.0},
            log_interval=None,
            **({"discount": problem.gamma} | setting),
        )
        with torch.no_grad():
            self.layer.weight.copy_(problem.reward[None])
            self.layer.bias.zero_()

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        states = np.array([*rollout.state, rollout.following[-1]])
        shown = Trajectory(states, np.array(rollout.action), infos=None, terminal=True)
        self.learner.set_demonstrations([shown])
        self.learner.train(max_iter=1)
        slope = self.layer.weight.grad
        assert slope is not None
        return -slope.flatten().double().clone()


def build_peer(peer: str, setting: dict[str, Any], problem: Any) -> CloningPeer | InversePeer:
    kind = InversePeer if peer.endswith(":mce_irl") else CloningPeer
    return kind(peer, setting, problem)
