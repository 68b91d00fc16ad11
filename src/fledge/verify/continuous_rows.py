"""SAC and TD3 beside their formulas: what their critics are drawn to, where their actors climb, and
how the lagging networks follow.

Networks are taken as they are; what is worked out again is what the algorithms make of them. Real
actions live in float32, and so do
their networks: the rows allow for its rounding.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, distributions, nn

from fledge.algorithms.value.soft_actor_critic import SoftActorCritic
from fledge.algorithms.value.td3 import TD3
from fledge.models.control.squashed_actor import DeterministicActor, GaussianActor
from fledge.models.control.twin_critic import TwinCritic
from fledge.sample.replay import Transitions
from fledge.stopwatch import Stopwatch
from fledge.verify.rows import TableRow
from fledge.verify.value_rows import (
    GAMMA,
    STATES,
    Everything,
    make_batch,
    record_gradients,
    relative,
    seeded,
)
from fledge.worlds.world import Box, Choices

FLOAT32 = 1e-4  # relative, after a few hundred sums in float32
REACH = Box(torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 1.0]))


def real_transitions(n: int = 24) -> Transitions:
    """Drawn at random; a third of them end."""
    random = seeded(41)
    obs, after = torch.randint(0, STATES, (2, n), generator=random)
    action = REACH.low + (REACH.high - REACH.low) * torch.rand(n, 2, generator=random)
    reward, weight = torch.randn(n, generator=random), 0.5 + torch.rand(n, generator=random)
    ended = torch.rand(n, generator=random) < 1 / 3
    return Transitions(
        obs, action, reward, after, torch.full((n,), GAMMA), ended, weight, torch.arange(n)
    )


def disturb(module: nn.Module, seed: int) -> None:
    """Its numbers somewhere else."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=seeded(seed))


def twin_slopes(
    critic: TwinCritic, rows: Transitions, target: Tensor
) -> tuple[list[Tensor], Tensor]:
    """∇ of the mean of ½w(Q₁ − y)² + ½w(Q₂ − y)², and the mean of |Q − y| of both.  -> gradients,
    [N]
    """
    q = critic(rows.obs, rows.action)
    loss = (0.5 * rows.weight * ((q[0] - target) ** 2 + (q[1] - target) ** 2)).mean()
    gradients = torch.autograd.grad(loss, list(critic.parameters()))
    return list(gradients), ((q[0] - target).abs() + (q[1] - target).abs()).detach() / 2


def sac_row() -> TableRow:
    """The density of a squashed normal by torch's own transformed distributions, in units of the
    bounds.
    """
    rows, random = real_transitions(), seeded(42)
    space = Choices((STATES,))
    actor = GaussianActor(space, REACH, generator=random, widths=(8,))
    critic = TwinCritic(space, REACH, generator=random, widths=(8,))
    disturb(actor, 43)
    with torch.no_grad():
        actor.log_temperature.fill_(-0.7)
    fits = record_gradients(actor), record_gradients(critic)
    memory = Everything(rows)
    algorithm = SoftActorCritic(
        actor,
        critic,
        fits[0][0],
        fits[1][0],
        Stopwatch(),
        settings=SoftActorCritic.Settings(
            gamma=GAMMA, updates_per_step=1, target_rate=0.25, learning_starts=0
        ),
        replay=memory,  # pyright: ignore[reportArgumentType]
        generator=seeded(44),
    )
    disturb(algorithm.target_critic.network, 45)
    lagging = copy.deepcopy(algorithm.target_critic.network)
    figures = algorithm.update(make_batch())
    noise = torch.randn((2, len(rows), 2), generator=seeded(44))
    centre, reach = (REACH.high + REACH.low) / 2, (REACH.high - REACH.low) / 2

    def acted(obs: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = actor.numbers(obs)
        normal = distributions.Normal(mean, log_std.exp())
        unit = distributions.TransformedDistribution(
            normal, [distributions.TanhTransform(cache_size=1)]
        )
        squashed = (mean + log_std.exp() * drawn).tanh()
        return centre + reach * squashed, unit.log_prob(squashed.clamp(-1 + 1e-7, 1 - 1e-7)).sum(-1)

    with torch.no_grad():
        action, logp = acted(rows.next_obs, noise[1])
        first, second = lagging(rows.next_obs, action)
        soft = torch.where(first < second, first, second) - actor.log_temperature.exp() * logp
        target = rows.reward + GAMMA * (~rows.terminated) * soft
    slopes, errors = twin_slopes(critic, rows, target)
    action, logp = acted(rows.obs, noise[0])
    first, second = critic(rows.obs, action)
    alpha = actor.log_temperature.exp().detach()
    loss = (alpha * logp - torch.where(first < second, first, second)).mean()
    wanted = list(torch.autograd.grad(loss, list(actor.network.parameters())))
    surplus = -(
        logp.detach() - 2.0
    ).mean()  # of the log of the temperature; wanted: −1 nat for each part of the action
    own = dict(zip((id(p) for p in fits[0][0].parameters), fits[0][1][0], strict=True))
    network = [own[id(p)] for p in actor.network.parameters()]
    halfway = [
        0.75 * old + 0.25 * new
        for old, new in zip(lagging.parameters(), critic.parameters(), strict=True)
    ]
    error = max(
        relative(fits[1][1][0], slopes), relative(network, wanted),
        relative(memory.errors, [errors]),
        relative([own[id(actor.log_temperature)]], [surplus]),
        abs(figures["entropy"] + float(logp.detach().mean())),
        relative(algorithm.target_critic.network.parameters(), halfway),
        abs(figures["policy_loss"] - float(loss.detach())),
    )  # fmt: skip
    return TableRow(
        "Q5", "sac, one step",
        "critics to r + γ(min Q⁻ − α log π); the actor up min Q − α log π; α to its entropy",
        error, FLOAT32,
        f"gradients of critics, actor and temperature, errors and lagging critics to {error:.1e}",
    )  # fmt: skip


def td3_row() -> TableRow:
    rows, random = real_transitions(), seeded(52)
    space = Choices((STATES,))
    actor = DeterministicActor(space, REACH, generator=random, widths=(8,))
    critic = TwinCritic(space, REACH, generator=random, widths=(8,))
    disturb(actor, 53)
    fits = record_gradients(actor), record_gradients(critic)
    memory = Everything(rows)
    algorithm = TD3(
        actor,
        critic,
        fits[0][0],
        fits[1][0],
        Stopwatch(),
        settings=TD3.Settings(
            gamma=GAMMA,
            updates_per_step=2,
            target_rate=0.25,
            policy_every=2,
            target_noise=0.4,
            most_target_noise=0.5,
            learning_starts=0,
        ),
        replay=memory,  # pyright: ignore[reportArgumentType]
        generator=seeded(54),
    )
    disturb(algorithm.target_critic.network, 55)
    disturb(algorithm.target_actor.network, 56)
    parts = algorithm.target_critic.network, algorithm.target_actor.network
    lagging_critic, lagging_actor = (copy.deepcopy(part) for part in parts)
    figures = algorithm.update(make_batch())
    centre, reach = (REACH.high + REACH.low) / 2, (REACH.high - REACH.low) / 2
    error, drawn = 0.0, seeded(54)
    for step in range(2):  # the targets are still where they were at the second
        noise = 0.4 * torch.randn((len(rows), 2), generator=drawn)
        with torch.no_grad():
            unit = (lagging_actor(rows.next_obs) - centre) / reach
            unit = torch.minimum(
                torch.maximum(unit + noise.clip(-0.5, 0.5), torch.tensor(-1.0)), torch.tensor(1.0)
            )
            first, second = lagging_critic(rows.next_obs, centre + reach * unit)
            target = rows.reward + GAMMA * (~rows.terminated) * torch.where(
                first < second, first, second
            )
        slopes, errors = twin_slopes(critic, rows, target)
        error = max(
            error, relative(fits[1][1][step], slopes), relative([memory.errors[step]], [errors])
        )
    loss = -critic(rows.obs, actor(rows.obs))[0].mean()
    wanted = torch.autograd.grad(loss, list(actor.parameters()))
    halves = [
        0.75 * old + 0.25 * new
        for lag, now in ((lagging_critic, critic), (lagging_actor, actor))
        for old, new in zip(lag.parameters(), now.parameters(), strict=True)
    ]
    followed = [p for part in parts for p in part.parameters()]
    error = max(
        error, relative(fits[0][1][0], wanted), relative(followed, halves),
        float(len(fits[0][1]) != 1),
        abs(figures["policy_loss"] - float(loss.detach())),
    )  # fmt: skip
    return TableRow(
        "Q6", "td3, two steps",
        "critics to r + γ min Q⁻(s′, π⁻ + noise) each time; the actor up Q₁ every second time",
        error, FLOAT32,
        f"gradients of critics and actor, errors and lagging networks to {error:.1e}",
    )  # fmt: skip


def continuous_rows() -> list[TableRow]:
    return [sac_row(), td3_row()]
