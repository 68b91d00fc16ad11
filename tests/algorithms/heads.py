"""Actors and critics of every kind of action in float64, samples of theirs, and what torch's own
distributions say of them.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, distributions, nn

from fledge.algorithms.parts.fisher_vector_product import policy_parameters
from fledge.algorithms.policy.natural_gradient import NaturalGradient, StepSettings
from fledge.algorithms.policy.trpo import TRPO
from fledge.models.control.actor_critic import ActorCritic
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories, Weighed
from fledge.worlds.world import Box, Choices, Space
from tests.subjects import learner, seeded

EXACT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}
ACTIONS: dict[str, Space] = {
    "one choice": Choices((3,)),
    "several choices": Choices((2, 3)),
    "Gaussian": Box(torch.full((2,), -1.0), torch.full((2,), 1.0)),
}
HEADS = pytest.mark.parametrize("name", ACTIONS)


def vectors(width: int) -> Box:
    return Box(torch.full((width,), -math.inf), torch.full((width,), math.inf))


def actor_critic(
    name: str, *, width: int = 3, actor: nn.Module | None = None, seed: int = 0
) -> ActorCritic:
    """In float64, its numbers far enough from 0 that no two actions are alike."""
    made = ActorCritic(
        vectors(width),
        ACTIONS[name],
        generator=seeded(seed),
        widths=(4,),
        normalise=True,
        log_std=-0.3,
        actor=actor,
    ).double()
    with torch.no_grad():
        for parameter in policy_parameters(made):
            parameter += 0.5 * torch.randn(
                parameter.shape, generator=seeded(seed + 1), dtype=torch.float64
            )
    return made


def samples(actor_critic: ActorCritic, rows: int = 6, steps: int = 5, seed: int = 2) -> Weighed:
    """Of the policy's own, some steps not chosen, some ends of both kinds; `weight` an advantage
    drawn at random.
    """
    random, width = seeded(seed), actor_critic.encoder.width
    obs = torch.randn(rows, steps + 1, width, generator=random, dtype=torch.float64)
    action, logp = actor_critic.act(obs[:, :-1].flatten(0, 1), random)
    chosen = torch.rand(rows, steps, generator=random) > 0.2
    terminated, truncated = (
        chosen & (torch.rand(rows, steps, generator=random) < p) for p in (0.2, 0.1)
    )
    # A cut that a step follows: in the last column a cut and a row that runs on are the same
    # number.
    chosen[0, 1:3] = truncated[0, 1] = True
    terminated[0, 1] = False
    reward, weight = torch.randn(2, rows, steps, generator=random, dtype=torch.float64)
    action = action.view(rows, steps, *action.shape[1:])
    logp = logp.view(rows, steps)
    return Weighed(
        obs, action, chosen, reward, terminated, truncated & ~terminated, logp=logp, weight=weight
    )


def algorithm(
    both: ActorCritic,
    usual: StepSettings = TRPO,
    micro: int | None = None,
    **settings: Any,
) -> NaturalGradient:
    fit = learner(both.critic, rows_per_micro_batch=micro)
    given = usual.replace(**{"updates_per_step": 4, "epochs": 2} | settings)
    return NaturalGradient(both, fit, Stopwatch(), given, generator=seeded(4))


def flat(tensors: Any) -> Tensor:
    return torch.cat([x.detach().reshape(-1) for x in tensors])


def said(both: ActorCritic, batch: Trajectories, at: Tensor) -> Tensor:
    """The head's numbers for the chosen steps where the policy's parameters are `at`.  [P] -> [N,
    size]
    """
    names = [name for name, _ in both.named_parameters() if not name.startswith("critic")]
    own = dict(both.named_parameters())
    parts = at.split([own[name].numel() for name in names])
    given = {name: part.view_as(own[name]) for name, part in zip(names, parts, strict=True)}
    encoded = both.encoder(batch.obs[:, :-1][batch.chosen])
    actor = {
        name.removeprefix("actor."): value
        for name, value in given.items()
        if name.startswith("actor.")
    }
    out = torch.func.functional_call(both.actor, actor, (encoded,))
    return torch.cat([out, given["log_std"].expand_as(out)], -1) if "log_std" in given else out


def distribution(name: str, numbers: Tensor) -> list[distributions.Distribution]:
    """By torch's own distributions: one for each part of the action."""
    if name == "Gaussian":
        mean, log_std = numbers.chunk(2, -1)
        return [distributions.Independent(distributions.Normal(mean, log_std.exp()), 1)]
    space = ACTIONS[name]
    assert isinstance(space, Choices)
    return [distributions.Categorical(logits=part) for part in numbers.split(list(space.sizes), -1)]


def kl(name: str, old: Tensor, new: Tensor) -> Tensor:
    """Mean over states."""
    pairs = zip(distribution(name, old), distribution(name, new), strict=True)
    return sum((distributions.kl_divergence(a, b) for a, b in pairs), torch.zeros(())).mean()
