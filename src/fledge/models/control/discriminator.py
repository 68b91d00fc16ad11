"""Networks that tell an expert's steps from a policy's: a plain one (GAIL, Ho & Ermon 2016), and
one whose parts are a reward and its shaping (AIRL, Fu, Luo & Levine 2018, eq. 4).

D = σ(logit) is the chance that a step is the expert's. A step in the state that a termination leads
to, and that nothing leaves (Kostrikov, Agrawal, Dwibedi, Levine & Tompson 2019, section 4.2), has a
logit of its own, `say_end`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fledge.models.control.actor_critic import Encoder
from fledge.models.control.mlp import mlp
from fledge.worlds.world import Space

# The logit of the absorbing state is one number, which AdamW moves by the learning rate a step at
# most: networks were so much faster that an early end went on to pay, and AIRL came to 9 of the 500
# of CartPole. Where the expert never ends nothing else bounds it, and it is earned 1/(1 − γ) times.
END_SPEED, END_MOST = 100.0, 5.0


def say_end(end: Tensor) -> Tensor:
    """The logit of a step in the absorbing state, from -5 to 5, out of the number that is learned.
    [] -> []
    """
    return END_MOST * torch.tanh(END_SPEED / END_MOST * end)


class PlainDiscriminator(nn.Module):
    """logit(s, a), of any kind."""

    def __init__(
        self, encoder: Encoder, action: Space, *, generator: torch.Generator, widths: Sequence[int]
    ) -> None:
        """encoder: the policy's, which it does not change. widths: of the hidden layers, tanh."""
        super().__init__()
        self.encoder, self.action = encoder, Encoder(action, normalise=False)
        width = encoder.width + self.action.width
        self.network = mlp((width, *widths, 1), generator=generator)
        self.end = nn.Parameter(torch.zeros(()))  # as `say_end` reads it

    def logit(
        self, obs: Tensor, action: Tensor, next_obs: Tensor, terminated: Tensor, logp: Tensor
    ) -> Tensor:
        """[N, *O], [N, *A], [N, *O], [N] bool, [N] -> [N]"""
        both = torch.cat([self.encoder(obs), self.action(action)], -1)
        return self.network(both)[:, 0]

    @staticmethod
    def reward(logit: Tensor) -> Tensor:
        """−ln(1 − D): the policy's steps cost ln(1 − D) (Ho & Ermon 2016, algorithm 1, whose D is
        the chance that a step is the policy's).  [N] -> [N]
        """
        return nn.functional.softplus(logit)


class RewardDiscriminator(nn.Module):
    """logit = f(s, a, s') − ln π(a|s), f = g + γ h(s') − h(s): D = e^f / (e^f + π). What comes
    after a termination is worth nothing.

    Where D can tell nothing more, f is the expert's advantage in the entropy-regularised world; of
    g(s) alone in a world whose states tell themselves apart, g is then the reward up to a constant
    (Fu et al. 2018, theorem 5.1).
    """

    def __init__(
        self,
        encoder: Encoder,
        action: Space,
        *,
        generator: torch.Generator,
        widths: Sequence[int],
        gamma: float,
        state_only: bool,
    ) -> None:
        """state_only: g is of s, and not of what is done there."""
        super().__init__()
        self.encoder, self.gamma, self.state_only = encoder, gamma, state_only
        self.action = Encoder(action, normalise=False)
        width = encoder.width + (0 if state_only else self.action.width)
        self.g = mlp((width, *widths, 1), generator=generator)
        self.h = mlp((encoder.width, *widths, 1), generator=generator)
        # g there, as `say_end` reads it: h is 0, and there is nothing to choose
        self.end = nn.Parameter(torch.zeros(()))

    def learned_reward(self, obs: Tensor, action: Tensor) -> Tensor:
        """g.  [N, *O], [N, *A] -> [N]"""
        seen = self.encoder(obs)
        if not self.state_only:
            seen = torch.cat([seen, self.action(action)], -1)
        return self.g(seen)[:, 0]

    def logit(
        self, obs: Tensor, action: Tensor, next_obs: Tensor, terminated: Tensor, logp: Tensor
    ) -> Tensor:
        """[N, *O], [N, *A], [N, *O], [N] bool, [N] -> [N]. logp: ln π(a|s)."""
        after = torch.where(terminated, 0.0, self.h(self.encoder(next_obs))[:, 0])
        before = self.h(self.encoder(obs))[:, 0]
        return self.learned_reward(obs, action) + self.gamma * after - before - logp

    @staticmethod
    def reward(logit: Tensor) -> Tensor:
        """ln D − ln(1 − D) = f − ln π (Fu et al. 2018, algorithm 1).  [N] -> [N]"""
        return logit


Discriminator = PlainDiscriminator | RewardDiscriminator
