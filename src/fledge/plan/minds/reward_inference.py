"""What pays, out of what an expert does: the rewards under which the demonstrations are the
likeliest, by maximum entropy and by maximum causal entropy, exactly.

Maximum causal entropy: Ziebart, Bagnell & Dey 2010, theorem 3: π_t(a|s) = e^(Q_t(s,a) − V_t(s)),
Q_t = r(s) + γ P V_{t+1}, V_t = log Σ_a e^Q_t. Maximum entropy: Ziebart, Maas, Bagnell & Dey 2008,
eq. 2: P(τ | s_0) ∝ e^(Σ r) Π P(s′|s,a), which lets chance bend towards reward; without chance both
are one. In both the gradient of the log-likelihood, discounted by γ and in the mean over what
chance does, is the expert's feature counts less the model's.

W worlds at once; T steps, of which each pays r(s_t), t < T; S states, A actions, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fledge.plan.minds.chances import Chances

Kind = Literal["causal", "maximum"]


@dataclass(frozen=True)
class Model:
    """log_policy: [W, T, S, A]. visits: [W, T, S], how likely the model is where at each step.
    log_partition: [W], of maximum entropy, the mean over starts; 0 of causal.
    """

    log_policy: Tensor
    visits: Tensor
    log_partition: Tensor

    def counts(self, gamma: float) -> Tensor:
        """Σ_t γ^t P(s_t = s).  -> [W, S]"""
        return discount(self.visits, gamma)


def discount(visits: Tensor, gamma: float) -> Tensor:
    """[W, T, S] -> [W, S]"""
    T = visits.shape[1]
    return torch.einsum("wts,t->ws", visits, gamma ** torch.arange(T, dtype=visits.dtype))


def solve_causal(
    chances: Chances, start: Tensor, reward: Tensor, steps: int, gamma: float = 1.0
) -> Model:
    """start: [W, S], reward: [W, S]."""
    W, S = reward.shape
    q = reward.new_empty(steps, W, chances.actions, S)
    value = reward.new_zeros(steps + 1, W, S)
    # The same memory through NumPy, whose calls cost a third of torch's: with a hundred places a
    # step is little else.
    pays, every, values = reward.numpy()[:, None], q.numpy(), value.numpy()
    rows, later = q.view(steps, W, -1).unbind(), value.unbind()
    for t in reversed(range(steps)):
        chances.expect(later[t + 1], rows[t])
        here = every[t]
        here *= gamma
        here += pays
        most = here.max(1)
        np.log(np.exp(here - most[:, None]).sum(1), out=values[t])
        values[t] += most
    log_policy = q - value[:-1, :, None]
    visits = follow_actions(chances, start, log_policy.exp())
    return Model(log_policy.permute(1, 0, 3, 2), visits, reward.new_zeros(W))


def solve_maximum(
    chances: Chances, start: Tensor, reward: Tensor, steps: int, gamma: float = 1.0
) -> Model:
    """start: [W, S], reward: [W, S]. gamma weighs the rewards of later steps, as in the causal one.
    What comes after an action is more likely where more is to come.
    """
    z = torch.zeros_like(reward)  # log Σ of all that may follow
    policies, weights, masses = [], [], []
    for t in reversed(range(steps)):
        most = z.amax(-1, keepdim=True)
        weight = (z - most).exp()
        mass = chances.spread(weight)
        q = gamma**t * reward[:, None] + mass.log() + most[:, None]
        z = q.logsumexp(1)
        policies.append(q - z[:, None])
        weights.append(weight)
        masses.append(mass.clamp(min=1e-300))
    log_policy = torch.stack(policies[::-1])
    policy, weights, masses = log_policy.exp(), weights[::-1], masses[::-1]
    visits = [start]
    for t in range(steps - 1):
        # P(next) e^z(next) / Σ P e^z: the divisor belongs to place and action, e^z to the next.
        flow = visits[-1][:, None] * policy[t] / masses[t]
        comes = chances.follow(flow.flatten(1), torch.empty_like(start))
        visits.append(comes * weights[t])
    return Model(log_policy.permute(1, 0, 3, 2), torch.stack(visits, 1), (start * z).sum(-1))


SOLVERS = {"causal": solve_causal, "maximum": solve_maximum}


def follow_actions(chances: Chances, start: Tensor, policy: Tensor) -> Tensor:
    """Where a policy is at each step.  [W, S], [T, W, A, S] -> [W, T, S]"""
    T, W, A, S = policy.shape
    visits, flow = start.new_empty(T, W, S), start.new_empty(W, A, S)
    visits[0] = start
    here, acts, flows = visits.numpy()[:, :, None], policy.numpy(), flow.numpy()
    through, after = flow.view(W, -1), visits.unbind()
    for t in range(T - 1):
        np.multiply(here[t], acts[t], out=flows)
        chances.follow(through, after[t + 1])
    return visits.transpose(0, 1)


def follow_policy(transition: Tensor, start: Tensor, policy: Tensor) -> Tensor:
    """The same of a policy by states.  [W, A, S, S], [W, S], [W, T, S, A] -> [W, T, S]"""
    return follow_actions(Chances(transition), start, policy.permute(1, 0, 3, 2))


def act_best(transition: Tensor, reward: Tensor, steps: int, gamma: float = 1.0) -> Tensor:
    """The best policy for so many steps, evenly over equals.  -> [W, T, S, A]"""
    chances, value, policies = Chances(transition), torch.zeros_like(reward), []
    for _ in range(steps):
        q = torch.add(reward[:, None], chances.spread(value), alpha=gamma)
        value = q.amax(1)
        slack = 1e-9 * value.abs().clamp(min=1)
        best = (q >= (value - slack)[:, None]).double()
        policies.append(best / best.sum(1, keepdim=True))
    return torch.stack(policies[::-1]).permute(1, 0, 3, 2)


def earn(
    transition: Tensor, start: Tensor, policy: Tensor, reward: Tensor, gamma: float = 1.0
) -> Tensor:
    """E Σ_t γ^t r(s_t) of a policy.  -> [W]"""
    return (discount(follow_policy(transition, start, policy), gamma) * reward).sum(-1)


class RewardInference:
    """Raises that mean log-likelihood less ½ λ|w|² by Adam on w, the weights of features: r = Φ w.

    features: [W, S, F]. expert: [W, F], the mean of Σ_t γ^t φ(s_t) over demonstrations. The problem
    is concave: there is one best reward, but for what no demonstration can tell apart; the penalty
    λ takes the smallest of those.
    """

    def __init__(
        self, transition: Tensor, start: Tensor, features: Tensor, expert: Tensor, steps: int,
        *, kind: Kind = "causal", gamma: float = 1.0, learning_rate: float = 0.1,
        penalty: float = 1e-3,
    ) -> None:  # fmt: skip
        self.chances, self.start, self.features = Chances(transition), start, features
        self.expert, self.steps, self.kind, self.gamma = expert, steps, kind, gamma
        self.penalty = penalty
        self.weight = torch.zeros_like(expert)
        self.optimizer = torch.optim.Adam([self.weight], lr=learning_rate)
        self.model = self.solve()

    @property
    def reward(self) -> Tensor:
        """[W, S]"""
        return (self.features @ self.weight[..., None])[..., 0]

    def solve(self) -> Model:
        solver = SOLVERS[self.kind]
        return solver(self.chances, self.start, self.reward, self.steps, self.gamma)

    def gradient(self) -> Tensor:
        """Of the mean log-likelihood: counts of the expert less the model's.  [W, F]"""
        counts = self.model.counts(self.gamma)
        return self.expert - torch.einsum("wsf,ws->wf", self.features, counts)

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight.detach().clone(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weight.copy_(state["weight"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.model = self.solve()

    def update(self) -> float:
        """One step; the largest difference of counts before it."""
        slope = self.gradient()
        self.weight.grad = -(slope - self.penalty * self.weight)
        self.optimizer.step()
        self.model = self.solve()
        return float(slope.abs().max())
