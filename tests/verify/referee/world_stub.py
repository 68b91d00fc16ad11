"""A trainer of agents written for the test, right or with one fault: GAE by its backward recursion,
the losses by autograd on tables. It shares nothing with the referee's equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.verify.referee.world_question import Rollout, WorldProblem


@dataclass
class StubActor:
    problem: WorldProblem
    fault: str = ""
    normalise: bool = True
    name: str = "stub:actor"
    version: str = "1"

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        worth = self.estimate(rollout)
        table = self.problem.table.clone().requires_grad_(True)
        each = len(rollout) // pieces
        loss = torch.zeros((), dtype=torch.float64)
        for at in range(0, len(rollout), each):
            loss = loss + self.lose(table, rollout, worth, slice(at, at + each)) / pieces
        (slope,) = torch.autograd.grad(loss, table)
        return -slope * (1.1 if self.fault == "another gradient" else 1)

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        worth, every = self.estimate(rollout), slice(0, len(rollout))
        return [float(self.lose(table, rollout, worth, every)) for table in tables]

    def estimate(self, rollout: Rollout) -> Tensor:
        p, value = self.problem, self.problem.critic
        worth, later = [], torch.zeros((), dtype=torch.float64)
        for t in reversed(range(len(rollout))):
            over, cut = rollout.terminated[t], rollout.truncated[t]
            ahead = value[rollout.following[t]]
            if over and self.fault != "termination bootstraps":
                ahead = torch.zeros(())
            if cut and self.fault == "truncation is termination":
                ahead = torch.zeros(())
            if cut and self.fault == "runs on":
                ahead = value[rollout.state[t + 1]]
            goes_on = not over and (not cut or self.fault == "runs on")
            gap = rollout.reward[t] + p.gamma * ahead - value[rollout.state[t]]
            trace = 1.0 if self.fault == "no trace" else p.trace
            later = gap + (p.gamma * trace * later if goes_on else 0.0)
            worth.append(later)
        return torch.stack(worth[::-1])

    def lose(self, table: Tensor, rollout: Rollout, worth: Tensor, part: slice) -> Tensor:
        size = self.problem.logits.numel()
        state = torch.tensor(rollout.state)[part]
        action = torch.tensor(rollout.action)[part]
        logp = table[:size].view_as(self.problem.logits).log_softmax(-1)[state]
        weight = worth[part]
        if self.normalise:
            # By minibatch; or once over all, which no cut changes.
            over = worth if self.fault == "whole rollout" else weight
            weight = (weight - over.mean()) / (over.std() + 1e-8)
        policy = -(logp[range(len(state)), action] * weight).mean()
        entropy = -(logp.exp() * logp).sum(-1).mean()
        target = worth[part] + self.problem.critic[state]
        critic = (table[size:][state] - target).square().mean()
        halved = 1.0 if self.fault == "critic twice" else 0.5
        return policy + halved * critic - (0.1 * entropy if self.fault == "entropy" else 0.0)


@dataclass
class StubValues:
    problem: WorldProblem
    fault: str = ""
    name: str = "stub:values"
    version: str = "1"

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        table = self.problem.table.clone().requires_grad_(True)
        return -torch.autograd.grad(self.lose(table, rollout), table)[0]

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        return [float(self.lose(table, rollout)) for table in tables]

    def lose(self, table: Tensor, rollout: Rollout) -> Tensor:
        p = self.problem
        rows = table.view_as(p.critic)
        state, action = torch.tensor(rollout.state), torch.tensor(rollout.action)
        over = torch.tensor(rollout.terminated)
        if self.fault == "truncation is termination":
            over = over | torch.tensor(rollout.truncated)
        look = p.critic if self.fault == "no target network" else p.target
        ahead = look[torch.tensor(rollout.following)].max(1).values
        goal = torch.tensor(rollout.reward, dtype=torch.float64) + p.gamma * ahead * ~over
        said = rows[state, action]
        if self.fault == "squared":
            return 0.5 * (said - goal).square().mean()
        return torch.nn.functional.smooth_l1_loss(said, goal)
