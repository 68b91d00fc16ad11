"""The Fisher-vector product of a policy on a batch of samples, with the gradient, gain and KL of
policies nearby, and conjugate gradient, which solves with it.

The Fisher matrix F = E[∇log π ∇log πᵀ] is never written down: products with it come from the KL by
double backward (Schulman et al. 2015, appendix C).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from fledge import ranks
from fledge.learner import Learner
from fledge.models.control.actor_critic import ActorCritic
from fledge.trajectories import Weighed
from fledge.weights_version import raise_version


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], wanted: Tensor, steps: int, tolerance: float = 1e-5
) -> Tensor:
    """x with A·x ≈ `wanted`, A symmetric and positive definite, given only as v ↦ A·v (Hestenes &
    Stiefel 1952).  [P] -> [P]

    Exact after P steps; ends early where ‖wanted − A·x‖ ≤ tolerance·‖wanted‖.
    """
    solution, left = torch.zeros_like(wanted), wanted.clone()
    towards, size = left.clone(), left @ left
    enough = tolerance**2 * size
    for _ in range(steps):
        if size <= enough:
            break
        image = product(towards)
        far = size / (towards @ image)
        solution = solution + far * towards
        left = left - far * image
        before, size = size, left @ left
        towards = left + size / before * towards
    return solution


class FisherVectorProduct:
    """The policy as it was when this was made, and what the batch says of policies near it: gain,
    KL, gradient, Fisher matrix.

    All are means over the steps that were chosen, in the whole batch; rows are asked a
    micro-batch at a time, each rank its own. P counts the numbers of the actor and, for a
    Gaussian, of its spread. batch: `weight` holds the advantage.
    """

    def __init__(self, actor_critic: ActorCritic, batch: Weighed, learner: Learner) -> None:
        self.policy, self.learner = actor_critic, learner
        self.parameters = policy_parameters(actor_critic)
        self.origin = [p.detach().clone() for p in self.parameters]
        self.count = learner.count(batch.chosen)
        self.pieces = [self._piece(part) for part in learner.cut(batch)]

    @torch.no_grad()
    def _piece(self, part: Weighed) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Encoded observations [N, width], actions [N, *A], advantages [N]; and what the policy
        said: numbers [N, size], log π [N].
        """
        encoded = self.policy.encoder(part.obs[:, :-1][part.chosen])
        numbers, action = self.policy.numbers(encoded), part.action[part.chosen]
        return (
            encoded,
            action,
            part.weight[part.chosen],
            numbers,
            self.policy.head.log_prob(numbers, action),
        )

    def _gain(
        self, encoded: Tensor, action: Tensor, advantage: Tensor, old_logp: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A piece's share of E[(π/π_old − 1)·Â], and the numbers that the policy says now [N,
        size].
        """
        numbers = self.policy.numbers(encoded)
        ratio = (self.policy.head.log_prob(numbers, action) - old_logp).clamp(-20, 20).exp()
        return ((ratio - 1) * advantage).sum() / self.count, numbers

    def gradient(self) -> Tensor:
        """∇ of the expected gain, E[∇log π·Â] where the policy has not moved.  -> [P]"""
        return self._sum(
            self._gain(encoded, action, advantage, logp)[0]
            for encoded, action, advantage, _, logp in self.pieces
        )

    def product(self, vector: Tensor, damping: float) -> Tensor:
        """(F + damping·1)·vector, F the Hessian of KL(π_old‖π) where the policy has not moved.  [P]
        -> [P]
        """

        def slope(encoded: Tensor, old: Tensor) -> Tensor:
            """∇KL·vector, whose gradient is a piece's share of the product."""
            kl = self.policy.head.kl(old, self.policy.numbers(encoded)).sum() / self.count
            return _flat(torch.autograd.grad(kl, self.parameters, create_graph=True)) @ vector

        return (
            self._sum(slope(encoded, old) for encoded, _, _, old, _ in self.pieces)
            + damping * vector
        )

    def _sum(self, shares: Iterable[Tensor]) -> Tensor:
        """The gradients of all shares, added up over pieces and ranks.  -> [P]"""
        whole = torch.zeros_like(_flat(self.origin))
        for share in shares:
            whole += _flat(torch.autograd.grad(share, self.parameters))
        ranks.add_up([whole])
        return whole

    @torch.no_grad()
    def measure(self) -> tuple[float, float]:
        """The expected gain and E[KL(π_old‖π)] of the policy as it stands now: both 0 where it has
        not moved.
        """
        means = torch.zeros(2, dtype=torch.float64, device=self.count.device)
        for encoded, action, advantage, old, logp in self.pieces:
            gain, numbers = self._gain(encoded, action, advantage, logp)
            means += torch.stack([gain, self.policy.head.kl(old, numbers).sum() / self.count])
        ranks.add_up([means])
        gain, kl = means.tolist()
        return gain, kl

    @torch.no_grad()
    def move(self, step: Tensor) -> None:
        """θ ← θ_old + step.  [P]"""
        parts = step.split([p.numel() for p in self.parameters])
        for parameter, before, part in zip(self.parameters, self.origin, parts, strict=True):
            parameter.copy_(before + part.view_as(before))
        raise_version(self.policy)

    @torch.no_grad()
    def move_back(self) -> None:
        """θ ← θ_old, bit for bit."""
        for parameter, before in zip(self.parameters, self.origin, strict=True):
            parameter.copy_(before)
        raise_version(self.policy)


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


def policy_parameters(actor_critic: ActorCritic) -> list[nn.Parameter]:
    """All that require a gradient and are not the critic's."""
    critic = {id(p) for p in actor_critic.critic.parameters()}
    return [p for p in actor_critic.parameters() if p.requires_grad and id(p) not in critic]
