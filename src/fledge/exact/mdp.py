"""A Markov decision process so small that every trajectory can be written down: exact value and
exact policy gradient.

Nothing here is sampled or estimated, and nothing is shared with `weigh`, `fit` or the algorithms:
it is what they are held to.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_STATES, MOST_ACTIONS, LONGEST = 4, 3, 4  # 20,736 trajectories


class EnumeratedMDP:
    """P[a, s, s'], R[s, a], a distribution of the first state [S], γ, and a horizon H after which
    nothing counts.

    A trajectory is s_0 a_0 s_1 … a_{H−1}: all N with a probability above zero are listed in `state`
    and `action` [N, H]. A policy is a table of logits [S, A]. Raises ValueError for a process that
    is none, naming the row that is wrong, and for one too large.
    """

    def __init__(
        self, transition: Tensor, reward: Tensor, start: Tensor, gamma: float, horizon: int
    ) -> None:
        states, actions = reward.shape
        if states > MOST_STATES or actions > MOST_ACTIONS or not 1 <= horizon <= LONGEST:
            raise ValueError(
                f"{states} states, {actions} actions and {horizon} steps were given: enumeration "
                f"takes {MOST_STATES}, {MOST_ACTIONS} and 1 to {LONGEST}."
            )
        if transition.shape != (actions, states, states) or start.shape != (states,):
            raise ValueError(
                f"P is {tuple(transition.shape)} and start {tuple(start.shape)}: beside R [S, A] "
                f"{tuple(reward.shape)} they must be [A, S, S] and [S]."
            )
        for name, table in (("P", transition), ("start", start[None])):
            wrong = (((table.sum(-1) - 1).abs() > 1e-9) | (table < 0).any(-1)).nonzero()
            if len(wrong):
                raise ValueError(
                    f"{name}{wrong[0].tolist()} is no distribution: its entries must be ≥ 0 and "
                    "add up to 1."
                )
        self.transition, self.reward, self.start = (x.double() for x in (transition, reward, start))
        self.gamma, self.horizon = gamma, horizon
        choices = [torch.arange(states), torch.arange(actions)] * horizon
        every = torch.cartesian_prod(*choices).view(-1, horizon, 2)  # [N, H, 2]
        state, action = every[..., 0], every[..., 1]
        chance = self.start[state[:, 0]]
        for t in range(1, horizon):
            chance = chance * self.transition[action[:, t - 1], state[:, t - 1], state[:, t]]
        possible = chance > 0
        self.state, self.action, self.chance = state[possible], action[possible], chance[possible]
        self.worth = self.reward[self.state, self.action]  # [N, H]
        self.discount = gamma ** torch.arange(horizon, dtype=torch.float64)  # [H]
        self.back = (self.worth * self.discount).sum(1)  # [N]: Σ γ^t r_t

    def step_log_prob(self, logits: Tensor) -> Tensor:
        """log π(a_t|s_t) along every trajectory.  [S, A] -> [N, H]"""
        return logits.log_softmax(-1)[self.state, self.action]

    def prob(self, logits: Tensor) -> Tensor:
        """Of every trajectory, the world's part and the policy's.  [S, A] -> [N]"""
        return self.chance * self.step_log_prob(logits).sum(1).exp()

    def value(self, logits: Tensor) -> Tensor:
        """E[Σ γ^t r_t] = Σ_τ p(τ) G(τ).  [S, A] -> []"""
        return (self.prob(logits) * self.back).sum()

    def state_values(self, logits: Tensor) -> Tensor:
        """V_t(s) with H − t steps to go, by V_t = Σ_a π (R + γ P V_{t+1}) (Sutton & Barto 2018, eq.
        4.5).  [S, A] -> [H+1, S]
        """
        policy = logits.softmax(-1)
        values = [logits.new_zeros(logits.shape[0])]
        for _ in range(self.horizon):
            q = self.reward + self.gamma * torch.einsum("asn,n->sa", self.transition, values[-1])
            values.append((policy * q).sum(-1))
        return torch.stack(values[::-1])

    def gradient(self, logits: Tensor) -> Tensor:
        """∇ of `value` with respect to the logits, through the enumeration.  [S, A] -> [S, A]"""
        table = logits.detach().clone().requires_grad_(True)
        return torch.autograd.grad(self.value(table), table)[0]

    def step_scores(self, logits: Tensor) -> Tensor:
        """∇ log π(a_t|s_t) of every step with respect to the logits: 1{s=s_t}·(1{a=a_t} − π(a|s)).
        [S, A] -> [N, H, S, A]
        """
        states, actions = logits.shape
        here = torch.eye(states, dtype=logits.dtype)[self.state]  # [N, H, S]
        done = torch.eye(actions, dtype=logits.dtype)[self.action]  # [N, H, A]
        return here[..., None] * (done[:, :, None, :] - logits.softmax(-1))


def random_mdp(
    states: int, actions: int, horizon: int, gamma: float, seed: int
) -> tuple[EnumeratedMDP, Tensor]:
    """A process with rewards around 1 and a policy for it, both drawn at random.  -> process,
    logits [S, A]
    """
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=random)  # noqa: E731
    transition, start = draw(actions, states, states).softmax(-1), draw(states).softmax(-1)
    return EnumeratedMDP(transition, 1 + draw(states, actions), start, gamma, horizon), draw(
        states, actions
    )
