"""Policy and critic over a world's observations: two perceptrons, or a network of your own for
either.

Observations are brought to mean 0 and spread 1 by running statistics that are part of the policy,
so that they are saved and travel with it; they only change between batches, so that a ratio of new
to old policy starts at 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fledge.models.control.action_heads import DiagonalGaussian, head_for
from fledge.models.control.mlp import mlp
from fledge.worlds.world import Box, Choices, Space


class Encoder(nn.Module):
    """Observations as vectors: numbers normalised if asked for, choices as one-hot.  [N, *O] -> [N,
    width]

    Their mean and variance are counted as if one observation of mean 0 and variance 1 had come
    first: so a handful has a spread. They are of what this process saw; ranks that learn together
    do not put theirs together.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, observation: Space, normalise: bool) -> None:
        super().__init__()
        self.choices = observation.sizes if isinstance(observation, Choices) else None
        self.dims = len(observation.shape)
        if isinstance(observation, Box):
            self.width = observation.low.numel()
        else:
            self.width = sum(observation.sizes)
        self.normalise = normalise and self.choices is None
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("variance", torch.ones(self.width))
        self.register_buffer("count", torch.ones((), dtype=torch.float64))

    def forward(self, obs: Tensor) -> Tensor:
        if self.choices is not None:
            parts = obs.view(len(obs), len(self.choices)).unbind(-1)
            each = zip(parts, self.choices, strict=True)
            return torch.cat([nn.functional.one_hot(x.long(), n) for x, n in each], -1).float()
        flat = obs.reshape(len(obs), self.width)
        flat = flat.float() if flat.dtype != torch.float32 else flat
        if self.normalise:
            flat = ((flat - self.mean) * (self.variance + 1e-8).rsqrt()).clamp(-10, 10)
        return flat

    @torch.no_grad()
    def observe(self, moments: Tensor) -> None:
        """Count observations in, by their `moments_of` (Chan et al. 1979, eq. 2.1b).  [2·width +
        1]
        """
        n, mean, variance = moments[0], *moments[1:].chunk(2)
        whole = self.count + n
        away = mean - self.mean
        squares = self.variance * self.count + variance * n + away.square() * self.count * n / whole
        self.mean += away * (n / whole)
        self.variance.copy_(squares / whole)
        self.count.copy_(whole)


def moments_of(obs: Tensor) -> Tensor:
    """How many, their mean and their variance: all that a running statistic asks of them.  [N, *O]
    -> [2·width + 1] float64
    """
    x = obs.flatten(1).double()
    return torch.cat([x.new_tensor([len(x)]), x.mean(0), x.var(0, correction=0)])


class ActorCritic(nn.Module):
    """π(a|s) and V(s), with separate trunks. A Gaussian's spread is one number for each part of the
    action, the same in all states.
    """

    def __init__(
        self,
        observation: Space,
        action: Space,
        *,
        generator: torch.Generator,
        widths: Sequence[int] = (64, 64),
        normalise: bool = False,
        log_std: float = 0.0,
        actor: nn.Module | None = None,
    ) -> None:
        """actor: a network of your own from encoded observations [N, width] to the head's means or
        logits. log_std: of the start.

        widths: of the hidden layers, tanh, of actor and critic alike.
        """
        super().__init__()
        self.head = head_for(action)
        self.encoder = Encoder(observation, normalise)
        gaussian = isinstance(self.head, DiagonalGaussian)
        means = self.head.size // 2 if gaussian else self.head.size
        inside = self.encoder.width
        self.actor = actor or mlp((inside, *widths, means), generator=generator, last_gain=0.01)
        self.critic = mlp((inside, *widths, 1), generator=generator)
        self.log_std = nn.Parameter(torch.full((means,), log_std)) if gaussian else None

    def numbers(self, encoded: Tensor) -> Tensor:
        """What the action's distribution is made of.  [N, width] -> [N, head.size]"""
        return self._with_spread(self.actor(encoded))

    def _with_spread(self, out: Tensor) -> Tensor:
        return out if self.log_std is None else torch.cat([out, self.log_std.expand_as(out)], -1)

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """[n, *O] -> action [n, *A], log-probability [n]"""
        numbers = self.numbers(self.encoder(obs.to(self.encoder.mean.device)))
        action = self.head.sample(numbers, generator)
        return action.to(obs.device), self.head.log_prob(numbers, action).to(obs.device)

    @torch.no_grad()
    def best(self, obs: Tensor) -> Tensor:
        """The likeliest action.  [n, *O] -> [n, *A]"""
        return self.head.mode(self.numbers(self.encoder(obs.to(self.encoder.mean.device)))).to(
            obs.device
        )

    def log_prob(self, obs: Tensor, action: Tensor, chosen: Tensor | None = None) -> Tensor:
        """[B, T+1, *O], [B, T, *A] -> [B, T]"""
        b, t = action.shape[:2]
        numbers = self.numbers(self.encoder(obs[:, :t].flatten(0, 1)))
        return self.head.log_prob(numbers, action.flatten(0, 1)).view(b, t)

    def score_norm(self, obs: Tensor, action: Tensor, chosen: Tensor) -> Tensor:
        """‖∇ log π(a_t|s_t)‖² with respect to the head's numbers, 0 where not chosen.  [B, T+1,
        *O], [B, T, *A] -> [B, T]
        """
        b, t = action.shape[:2]
        with torch.enable_grad():
            numbers = self.numbers(self.encoder(obs[:, :t].flatten(0, 1))).detach().requires_grad_()
            logp = self.head.log_prob(numbers, action.flatten(0, 1))
            (score,) = torch.autograd.grad(logp.sum(), numbers)
        return torch.where(chosen, score.square().sum(-1).view(b, t), 0.0)

    def value(self, obs: Tensor) -> Tensor:
        """[B, T, *O] -> [B, T]"""
        encoded = self.encoder(obs.flatten(0, 1))
        return self.critic(encoded).view(obs.shape[:2])

    def evaluate(
        self, obs: Tensor, action: Tensor, chosen: Tensor, *, entropy: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability [B, T], entropy [B, T] (zeros unless asked for), and the value of every
        observation given [B, T or T+1].
        """
        (b, t), seen = action.shape[:2], obs.shape[1]
        encoded = self.encoder(obs.flatten(0, 1))
        out, value = self.actor(encoded), self.critic(encoded).view(b, seen)
        if seen > t:
            out = out.view(b, seen, -1)[:, :t].flatten(0, 1)
        numbers = self._with_spread(out)
        logp = self.head.log_prob(numbers, action.flatten(0, 1)).view(b, t)
        spread = self.head.entropy(numbers).view(b, t) if entropy else torch.zeros_like(logp)
        return logp, spread, value
