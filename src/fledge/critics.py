"""A policy with a critic beside it: in one network, or in two."""

from __future__ import annotations

from torch import Tensor, nn

from fledge.policy import TokenPolicy


class SharedCritic(nn.Module):
    """Policy and value from one trunk: one forward pass answers both."""

    def __init__(self, policy: TokenPolicy, head: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.head = head

    def evaluate(
        self, obs: Tensor, action: Tensor, chosen: Tensor, *, entropy: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability [B, T], entropy [B, T], and the value of every observation given, [B, T
        or T+1].
        """
        hidden = self.policy.hidden(obs)
        return *self.policy.evaluate(
            obs, action, chosen, entropy=entropy, hidden=hidden
        ), self.head(hidden)


class SeparateCritic(nn.Module):
    """Policy and value from two networks: the value's error never moves the policy's trunk."""

    def __init__(self, policy: TokenPolicy, critic: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic

    def evaluate(
        self, obs: Tensor, action: Tensor, chosen: Tensor, *, entropy: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability [B, T], entropy [B, T], and the value of every observation given, [B, T
        or T+1].
        """
        return *self.policy.evaluate(obs, action, chosen, entropy=entropy), self.critic(obs)
