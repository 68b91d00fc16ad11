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

import torch
from torch import Tensor

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
    transition: Tensor, start: Tensor, reward: Tensor, steps: int, gamma: float = 1.0
) -> Model:
    """transition: [W, A, S, S], start: [W, S], reward: [W, S]."""
    value, policies = torch.zeros_like(reward), []
    for _ in range(steps):
        following = (transition @ value[:, None, :, None])[..., 0]  # [W, A, S]
        q = reward[..., None] + gamma * following.transpose(1, 2)
        value = q.logsumexp(-1)
        policies.append(q - value[..., None])
    log_policy = torch.stack(policies[::-1], 1)
    visits = [start]
    for t in range(steps - 1):
        flow = visits[-1][..., None] * log_policy[:, t].exp()  # [W, S, A]
        visits.append(torch.einsum("wsa,wasn->wn", flow, transition))
    return Model(log_policy, torch.stack(visits, 1), torch.zeros(len(reward), dtype=reward.dtype))


def solve_maximum(
    transition: Tensor, start: Tensor, reward: Tensor, steps: int, gamma: float = 1.0
) -> Model:
    """transition: [W, A, S, S], start: [W, S], reward: [W, S]. gamma weighs the rewards of later
    steps, as in the causal one. What comes after an action is more likely where more is to come.
    """
    z = torch.zeros_like(reward)  # log Σ of all that may follow
    policies, after = [], []
    for t in reversed(range(steps)):
        most = z.amax(-1)
        scaled = transition * (z - most[:, None]).exp()[:, None, None]  # [W, A, S, S]
        mass = scaled.sum(-1)
        after.append(scaled / mass.clamp(min=1e-300)[..., None])
        q = gamma**t * reward[..., None] + (mass.log() + most[:, None, None]).transpose(1, 2)
        z = q.logsumexp(-1)
        policies.append(q - z[..., None])
    log_policy, after = torch.stack(policies[::-1], 1), after[::-1]
    visits = [start]
    for t in range(steps - 1):
        flow = visits[-1][..., None] * log_policy[:, t].exp()
        visits.append(torch.einsum("wsa,wasn->wn", flow, after[t]))
    return Model(log_policy, torch.stack(visits, 1), (start * z).sum(-1))


SOLVERS = {"causal": solve_causal, "maximum": solve_maximum}


def follow_policy(transition: Tensor, start: Tensor, policy: Tensor) -> Tensor:
    """Where a policy is at each step.  [W, A, S, S], [W, S], [W, T, S, A] -> [W, T, S]"""
    visits = [start]
    for t in range(policy.shape[1] - 1):
        flow = visits[-1][..., None] * policy[:, t]
        visits.append(torch.einsum("wsa,wasn->wn", flow, transition))
    return torch.stack(visits, 1)


def act_best(transition: Tensor, reward: Tensor, steps: int, gamma: float = 1.0) -> Tensor:
    """The best policy for so many steps, evenly over equals.  -> [W, T, S, A]"""
    value, policies = torch.zeros_like(reward), []
    for _ in range(steps):
        following = (transition @ value[:, None, :, None])[..., 0]
        q = reward[..., None] + gamma * following.transpose(1, 2)
        value = q.amax(-1)
        best = (q >= value[..., None] - 1e-9 * value.abs()[..., None].clamp(min=1)).double()
        policies.append(best / best.sum(-1, keepdim=True))
    return torch.stack(policies[::-1], 1)


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
        self.transition, self.start, self.features = transition, start, features
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
        return solver(self.transition, self.start, self.reward, self.steps, self.gamma)

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
