"""DQN, SAC, TD3 and tables of values beside Bellman's equation: targets and gradients on a process that can be written down.

Networks are taken as they are; what is worked out again is what the algorithms make of them: targets, weights, errors and directions.
Real actions live in float32, and so do their networks: those rows allow for its rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, distributions, nn

from fledge.algorithms.action_table import ActionTable
from fledge.algorithms.dqn import DQN
from fledge.algorithms.monte_carlo import MonteCarlo
from fledge.algorithms.soft_actor_critic import SoftActorCritic
from fledge.algorithms.tabular import expected_sarsa, q_learning
from fledge.algorithms.td3 import TD3
from fledge.exact.mdp import random_mdp
from fledge.exact.rows import Row
from fledge.learner import Learner, Schedule
from fledge.models.squashed_actor import DeterministicActor, GaussianActor
from fledge.models.twin_critic import TwinCritic
from fledge.sample.replay import Transitions
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.world import Box, Choices

STATES, ACTIONS, GAMMA = 3, 2, 0.9
FLOAT32 = 1e-4  # relative, after a few hundred sums in float32


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TableQ(nn.Module):
    """Q(s, ·), a number for each."""

    choices = ACTIONS

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.table = nn.Parameter(2 * torch.randn(STATES, ACTIONS, dtype=torch.float64, generator=seeded(seed)))

    def forward(self, obs: Tensor) -> Tensor:
        return self.table[obs]


class Everything:
    """A memory that gives all of its steps at every draw, and remembers what surprised."""

    def __init__(self, rows: Transitions) -> None:
        self.rows = rows
        self.errors: list[Tensor] = []
        self.asked: list[tuple[float, ...]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def push(self, batch: Trajectories) -> int:
        return len(self.rows)

    def draw(self, rows: int, *how: float) -> Transitions:
        self.asked.append(how)
        return self.rows

    def surprised(self, index: Tensor, error: Tensor) -> None:
        self.errors.append(error)


def recorded(module: nn.Module) -> tuple[Learner, list[list[Tensor]]]:
    """A learner that writes its gradients down and moves nothing."""
    learner = Learner(module, Schedule(1.0, 1), weight_decay=0.0, clip=0.0)
    taken: list[list[Tensor]] = []

    def keep() -> None:
        taken.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in learner.parameters])

    learner.optimizer.step = keep  # pyright: ignore[reportAttributeAccessIssue]
    return learner, taken


def relative(found: Any, exact: Any) -> float:
    """‖found − exact‖ / ‖exact‖ of all numbers together."""
    one, other = (torch.cat([x.detach().double().flatten() for x in side]) for side in (found, exact))
    return float((one - other).norm() / other.norm())


def every_transition(weight: Tensor | None = None) -> tuple[Transitions, Tensor]:
    """Each state, action and next state once, arriving in the last state ends it; and how likely each is.  -> [N], [N]"""
    mdp, _ = random_mdp(STATES, ACTIONS, 1, GAMMA, seed=31)
    s, a, after = (x.flatten() for x in torch.meshgrid(*map(torch.arange, (STATES, ACTIONS, STATES)), indexing="ij"))
    n = len(s)
    ones = torch.ones(n, dtype=torch.float64) if weight is None else weight
    rows = Transitions(
        s,
        a,
        mdp.reward[s, a],
        after,
        torch.full((n,), GAMMA, dtype=torch.float64),
        after == STATES - 1,
        ones,
        torch.arange(n),
    )
    return rows, mdp.transition[a, s, after]


def some_batch() -> Trajectories:
    """What an update is given; what is learned from comes out of the memory."""
    no = torch.zeros(1, 1, dtype=torch.bool)
    obs = torch.zeros(1, 2, dtype=torch.long)
    return Trajectories(obs, obs[:, 1:], ~no, torch.zeros(1, 1), no, no)


def dqn_rows() -> Iterator[Row]:
    weight = torch.rand(STATES * ACTIONS * STATES, dtype=torch.float64, generator=seeded(32)) + 0.5
    rows, chance = every_transition(weight)
    backups, steps, following = 0.0, 0.0, 0.0
    for double in (True, False):
        network = TableQ(33)
        learner, taken = recorded(network)
        memory = Everything(rows)
        algorithm = DQN(
            network, learner, Stopwatch(), replay=memory, gamma=GAMMA, n_step=1, updates_per_step=1,  # pyright: ignore[reportArgumentType]
            target_every=2, double=double, learning_starts=0,
        )  # fmt: skip
        q, old = network.table.detach().clone(), TableQ(34).table.detach()
        lagging: Any = algorithm.target_network.network
        lagging.table.copy_(old)
        future = [float(old[s, (q if double else old)[s].argmax()]) for s in range(STATES)]
        future[STATES - 1] = 0.0
        said = algorithm.target(rows)
        for s in range(STATES):
            for a in range(ACTIONS):
                own = (rows.obs == s) & (rows.action == a)
                backup = float(rows.reward[own][0]) + GAMMA * sum(
                    p * future[n] for p, n in zip(chance[own].tolist(), rows.next_obs[own].tolist(), strict=True)
                )
                backups = max(backups, abs(float((chance[own] * said[own]).sum()) - backup))
        figures = algorithm.update(some_batch())
        gradient, errors = torch.zeros_like(q), []
        for i, (s, a, after) in enumerate(
            zip(rows.obs.tolist(), rows.action.tolist(), rows.next_obs.tolist(), strict=True)
        ):
            error = float(q[s, a]) - float(rows.reward[i]) - GAMMA * future[after]
            gradient[s, a] += float(weight[i]) * max(-1.0, min(1.0, error)) / len(rows)  # Huber's slope
            errors.append(abs(error))
        steps = max(
            steps, relative(taken[0], [gradient]), relative(memory.errors, [torch.tensor(errors, dtype=torch.float64)])
        )
        steps = max(steps, abs(figures["td_error"] - sum(errors) / len(errors)))
        steps = max(steps, float(memory.asked[0] != (GAMMA, 1)))
        unmoved = torch.equal(lagging.table, old)
        algorithm.update(some_batch())  # the second step, after which θ⁻ is θ
        following = max(following, float(not unmoved), relative([lagging.table], [q]))
    yield Row(
        "Q1", "dqn, its target, double and not", "on average Bellman's optimal backup of the lagging table", backups, 1e-10,
        f"largest difference over all states and actions {backups:.1e}",
    )  # fmt: skip
    yield Row(
        "Q2", "dqn, its step", "Huber's slope of every error, times its importance weight", steps, 1e-10,
        f"gradient, errors and figures over all {len(rows)} transitions to {steps:.1e}",
    )  # fmt: skip
    yield Row(
        "Q3", "dqn, the lagging table", "stays for `target_every` steps, then is the table", following, 1e-12,
        f"largest difference {following:.1e}",
    )  # fmt: skip


REACH = Box(torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 1.0]))


def real_transitions(n: int = 24) -> Transitions:
    """Drawn at random; a third of them end."""
    random = seeded(41)
    obs, after = torch.randint(0, STATES, (2, n), generator=random)
    action = REACH.low + (REACH.high - REACH.low) * torch.rand(n, 2, generator=random)
    reward, weight = torch.randn(n, generator=random), 0.5 + torch.rand(n, generator=random)
    ended = torch.rand(n, generator=random) < 1 / 3
    return Transitions(obs, action, reward, after, torch.full((n,), GAMMA), ended, weight, torch.arange(n))


def moved(module: nn.Module, seed: int) -> None:
    """Its numbers somewhere else."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=seeded(seed))


def twin_slopes(critic: TwinCritic, rows: Transitions, target: Tensor) -> tuple[list[Tensor], Tensor]:
    """∇ of the mean of ½w(Q₁ − y)² + ½w(Q₂ − y)², and the mean of |Q − y| of both.  -> gradients, [N]"""
    q = critic(rows.obs, rows.action)
    loss = (0.5 * rows.weight * ((q[0] - target) ** 2 + (q[1] - target) ** 2)).mean()
    gradients = torch.autograd.grad(loss, list(critic.parameters()))
    return list(gradients), ((q[0] - target).abs() + (q[1] - target).abs()).detach() / 2


def sac_row() -> Row:
    """The density of a squashed normal by torch's own transformed distributions, in units of the bounds."""
    rows, random = real_transitions(), seeded(42)
    space = Choices((STATES,))
    actor = GaussianActor(space, REACH, generator=random, widths=(8,))
    critic = TwinCritic(space, REACH, generator=random, widths=(8,))
    moved(actor, 43)
    with torch.no_grad():
        actor.log_temperature.fill_(-0.7)
    fits = recorded(actor), recorded(critic)
    memory = Everything(rows)
    algorithm = SoftActorCritic(
        actor, critic, fits[0][0], fits[1][0], Stopwatch(), replay=memory, generator=seeded(44), gamma=GAMMA,  # pyright: ignore[reportArgumentType]
        updates_per_step=1, target_rate=0.25, learning_starts=0,
    )  # fmt: skip
    moved(algorithm.target_critic.network, 45)
    lagging = copy.deepcopy(algorithm.target_critic.network)
    figures = algorithm.update(some_batch())
    noise = torch.randn((2, len(rows), 2), generator=seeded(44))
    centre, reach = (REACH.high + REACH.low) / 2, (REACH.high - REACH.low) / 2

    def acted(obs: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = actor.numbers(obs)
        normal = distributions.Normal(mean, log_std.exp())
        unit = distributions.TransformedDistribution(normal, [distributions.TanhTransform(cache_size=1)])
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
    surplus = -(logp.detach() - 2.0).mean()  # of the log of the temperature; wanted: −1 nat for each part of the action
    own = dict(zip((id(p) for p in fits[0][0].parameters), fits[0][1][0], strict=True))
    network = [own[id(p)] for p in actor.network.parameters()]
    halfway = [0.75 * old + 0.25 * new for old, new in zip(lagging.parameters(), critic.parameters(), strict=True)]
    error = max(
        relative(fits[1][1][0], slopes), relative(network, wanted), relative(memory.errors, [errors]),
        relative([own[id(actor.log_temperature)]], [surplus]), abs(figures["entropy"] + float(logp.detach().mean())),
        relative(algorithm.target_critic.network.parameters(), halfway), abs(figures["policy_loss"] - float(loss.detach())),
    )  # fmt: skip
    return Row(
        "Q4", "sac, one step", "critics to r + γ(min Q⁻ − α log π); the actor up min Q − α log π; α to its entropy", error, FLOAT32,
        f"gradients of critics, actor and temperature, errors and lagging critics to {error:.1e}",
    )  # fmt: skip


def td3_row() -> Row:
    rows, random = real_transitions(), seeded(52)
    space = Choices((STATES,))
    actor = DeterministicActor(space, REACH, generator=random, widths=(8,))
    critic = TwinCritic(space, REACH, generator=random, widths=(8,))
    moved(actor, 53)
    fits = recorded(actor), recorded(critic)
    memory = Everything(rows)
    algorithm = TD3(
        actor, critic, fits[0][0], fits[1][0], Stopwatch(), replay=memory, generator=seeded(54), gamma=GAMMA,  # pyright: ignore[reportArgumentType]
        updates_per_step=2, target_rate=0.25, policy_every=2, target_noise=0.4, most_target_noise=0.5, learning_starts=0,
    )  # fmt: skip
    moved(algorithm.target_critic.network, 55)
    moved(algorithm.target_actor.network, 56)
    parts = algorithm.target_critic.network, algorithm.target_actor.network
    lagging_critic, lagging_actor = (copy.deepcopy(part) for part in parts)
    figures = algorithm.update(some_batch())
    centre, reach = (REACH.high + REACH.low) / 2, (REACH.high - REACH.low) / 2
    error, drawn = 0.0, seeded(54)
    for step in range(2):  # the targets are still where they were at the second
        noise = 0.4 * torch.randn((len(rows), 2), generator=drawn)
        with torch.no_grad():
            unit = (lagging_actor(rows.next_obs) - centre) / reach
            unit = torch.minimum(torch.maximum(unit + noise.clip(-0.5, 0.5), torch.tensor(-1.0)), torch.tensor(1.0))
            first, second = lagging_critic(rows.next_obs, centre + reach * unit)
            target = rows.reward + GAMMA * (~rows.terminated) * torch.where(first < second, first, second)
        slopes, errors = twin_slopes(critic, rows, target)
        error = max(error, relative(fits[1][1][step], slopes), relative([memory.errors[step]], [errors]))
    loss = -critic(rows.obs, actor(rows.obs))[0].mean()
    wanted = torch.autograd.grad(loss, list(actor.parameters()))
    halves = [
        0.75 * old + 0.25 * new
        for lag, now in ((lagging_critic, critic), (lagging_actor, actor))
        for old, new in zip(lag.parameters(), now.parameters(), strict=True)
    ]
    followed = [p for part in parts for p in part.parameters()]
    error = max(
        error, relative(fits[0][1][0], wanted), relative(followed, halves), float(len(fits[0][1]) != 1),
        abs(figures["policy_loss"] - float(loss.detach())),
    )  # fmt: skip
    return Row(
        "Q5", "td3, two steps", "critics to r + γ min Q⁻(s′, π⁻ + noise) each time; the actor up Q₁ every second time", error, FLOAT32,
        f"gradients of critics and actor, errors and lagging networks to {error:.1e}",
    )  # fmt: skip


def quarters() -> Trajectories:
    """From two states into two others, each as often as its chance in quarters says; a step, and it is cut there."""
    after = {(0, 0): (2, 2, 2, 3), (0, 1): (2, 3, 3, 3), (1, 0): (2, 2, 3, 3), (1, 1): (3, 3, 3, 3)}
    each = [(s, a, n) for (s, a), nexts in after.items() for n in nexts]
    s, a, n = (torch.tensor(column) for column in zip(*each, strict=True))
    yes, no = torch.ones(len(each), 1, dtype=torch.bool), torch.zeros(len(each), 1, dtype=torch.bool)
    reward = (s + 2 * a + 0.5).double()[:, None]
    return Trajectories(torch.stack([s, n], 1), a[:, None], yes, reward, no, yes)


def tabular_row() -> Row:
    """The mean of the targets from states that are taught to states that are not: Bellman's backup for each method's worth."""
    batch, epsilon = quarters(), 0.1
    known = torch.tensor([[1.0, 4.0], [-2.0, 0.5]], dtype=torch.float64)  # Q of the states 2 and 3
    mixed = [(1 - epsilon) * max(row) + epsilon * sum(row) / 2 for row in known.tolist()]
    worths: dict[str, tuple[Callable[..., Any], list[float]]] = {
        "q-learning": (q_learning, [max(row) for row in known.tolist()]),
        "expected sarsa": (expected_sarsa, mixed),
        "monte carlo": (MonteCarlo, [0.0, 0.0]),  # what would have come after a cut counts as nothing
    }
    error = 0.0
    for make, worth in worths.values():
        table = ActionTable(Choices((4,)), Choices((2,)))
        table.q[2:] = known
        make(table, Stopwatch(), gamma=GAMMA).update(batch)
        for s in range(2):
            for a in range(2):
                own = ((batch.obs[:, 0] == s) & (batch.action[:, 0] == a)).nonzero().flatten().tolist()
                future = sum(worth[int(batch.obs[i, 1]) - 2] for i in own) / len(own)
                error = max(error, abs(float(table.q[s, a]) - (s + 2 * a + 0.5 + GAMMA * future)))
        error = max(error, relative([table.q[2:]], [known]))
    return Row(
        "Q6", f"{', '.join(worths)}", "the mean of all targets is Bellman's backup", error, 1e-12,
        f"largest difference over states and actions {error:.1e}",
    )  # fmt: skip


def value_rows() -> list[Row]:
    return [*dqn_rows(), sac_row(), td3_row(), tabular_row()]
