"""DQN and tables of values beside Bellman's equation: targets and gradients on a process that can
be written down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fledge.algorithms.parts.action_table import ActionTable
from fledge.algorithms.value.dqn import DQN
from fledge.algorithms.value.monte_carlo import MonteCarlo
from fledge.algorithms.value.tabular import EXPECTED_SARSA, Q_LEARNING, Tabular
from fledge.exact.mdp import random_mdp
from fledge.learner import Learner, Schedule
from fledge.optimizers import Recorder
from fledge.sample.replay import Transitions
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.verify.rows import TableRow
from fledge.worlds.world import Choices

STATES, ACTIONS, GAMMA = 3, 2, 0.9


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TableQ(nn.Module):
    """Q(s, ·), a number for each."""

    choices = ACTIONS

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.table = nn.Parameter(
            2 * torch.randn(STATES, ACTIONS, dtype=torch.float64, generator=seeded(seed))
        )

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

    def draw(self, rows: int, *how: float, gone: float = 0.0) -> Transitions:
        self.asked.append(how)
        return self.rows

    def surprised(self, index: Tensor, error: Tensor) -> None:
        self.errors.append(error)


def record_gradients(module: nn.Module) -> tuple[Learner, list[list[Tensor]]]:
    """A learner that writes its gradients down and moves nothing."""
    recorder = Recorder([p for p in module.parameters() if p.requires_grad])
    learner = Learner(module, Schedule(1.0, 1), optimizer=lambda named, rate: recorder, clip=0.0)
    return learner, recorder.taken


def relative(measured: Any, exact: Any) -> float:
    """‖measured − exact‖ / ‖exact‖ of all numbers together."""
    one, other = (
        torch.cat([x.detach().double().flatten() for x in side]) for side in (measured, exact)
    )
    return float((one - other).norm() / other.norm())


def every_transition(weight: Tensor | None = None) -> tuple[Transitions, Tensor]:
    """Each state, action and next state once, arriving in the last state ends it; and how likely
    each is.  -> [N], [N]
    """
    mdp, _ = random_mdp(STATES, ACTIONS, 1, GAMMA, seed=31)
    s, a, after = (
        x.flatten()
        for x in torch.meshgrid(*map(torch.arange, (STATES, ACTIONS, STATES)), indexing="ij")
    )
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


def make_batch() -> Trajectories:
    """What an update is given; what is learned from comes out of the memory."""
    no = torch.zeros(1, 1, dtype=torch.bool)
    obs = torch.zeros(1, 2, dtype=torch.long)
    return Trajectories(obs, obs[:, 1:], ~no, torch.zeros(1, 1), no, no)


def dqn_rows() -> Iterator[TableRow]:
    weight = torch.rand(STATES * ACTIONS * STATES, dtype=torch.float64, generator=seeded(32)) + 0.5
    rows, chance = every_transition(weight)
    backups, steps, following = 0.0, 0.0, 0.0
    for double in (True, False):
        network = TableQ(33)
        learner, taken = record_gradients(network)
        memory = Everything(rows)
        algorithm = DQN(
            network,  # pyright: ignore[reportArgumentType]
            learner,
            Stopwatch(),
            settings=DQN.Settings(
                gamma=GAMMA,
                n_step=1,
                updates_per_step=1,
                target_every=2,
                double=double,
                learning_starts=0,
            ),
            replay=memory,  # pyright: ignore[reportArgumentType]
        )
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
                    p * future[n]
                    for p, n in zip(chance[own].tolist(), rows.next_obs[own].tolist(), strict=True)
                )
                backups = max(backups, abs(float((chance[own] * said[own]).sum()) - backup))
        figures = algorithm.update(make_batch())
        gradient, errors = torch.zeros_like(q), []
        for i, (s, a, after) in enumerate(
            zip(rows.obs.tolist(), rows.action.tolist(), rows.next_obs.tolist(), strict=True)
        ):
            error = float(q[s, a]) - float(rows.reward[i]) - GAMMA * future[after]
            # Huber's slope
            gradient[s, a] += float(weight[i]) * max(-1.0, min(1.0, error)) / len(rows)
            errors.append(abs(error))
        steps = max(
            steps,
            relative(taken[0], [gradient]),
            relative(memory.errors, [torch.tensor(errors, dtype=torch.float64)]),
        )
        steps = max(steps, abs(figures["td_error"] - sum(errors) / len(errors)))
        steps = max(steps, float(memory.asked[0] != (GAMMA, 1)))
        unmoved = torch.equal(lagging.table, old)
        algorithm.update(make_batch())  # the second step, after which θ⁻ is θ
        following = max(following, float(not unmoved), relative([lagging.table], [q]))
    yield TableRow(
        "Q1", "dqn, its target, double and not",
        "on average Bellman's optimal backup of the lagging table",
        backups, 1e-10,
        f"largest difference over all states and actions {backups:.1e}",
    )  # fmt: skip
    yield TableRow(
        "Q2", "dqn, its step", "Huber's slope of every error, times its importance weight",
        steps, 1e-10,
        f"gradient, errors and figures over all {len(rows)} transitions to {steps:.1e}",
    )  # fmt: skip
    yield TableRow(
        "Q3", "dqn, the lagging table", "stays for `target_every` steps, then is the table",
        following, 1e-12,
        f"largest difference {following:.1e}",
    )  # fmt: skip


def make_quarters() -> Trajectories:
    """From two states into two others, each as often as its chance in quarters says; a step, and it
    is cut there.
    """
    after = {(0, 0): (2, 2, 2, 3), (0, 1): (2, 3, 3, 3), (1, 0): (2, 2, 3, 3), (1, 1): (3, 3, 3, 3)}
    each = [(s, a, n) for (s, a), nexts in after.items() for n in nexts]
    s, a, n = (torch.tensor(column) for column in zip(*each, strict=True))
    yes, no = (
        torch.ones(len(each), 1, dtype=torch.bool),
        torch.zeros(len(each), 1, dtype=torch.bool),
    )
    reward = (s + 2 * a + 0.5).double()[:, None]
    return Trajectories(torch.stack([s, n], 1), a[:, None], yes, reward, no, yes)


def tabular_row() -> TableRow:
    """The mean of the targets from states that are taught to states that are not: Bellman's backup
    for each method's worth.
    """
    batch, epsilon = make_quarters(), 0.1
    known = torch.tensor([[1.0, 4.0], [-2.0, 0.5]], dtype=torch.float64)  # Q of the states 2 and 3
    mixed = [(1 - epsilon) * max(row) + epsilon * sum(row) / 2 for row in known.tolist()]
    worths: dict[str, tuple[Callable[..., Any], list[float]]] = {
        "q-learning": (
            partial(Tabular, settings=Q_LEARNING.replace(gamma=GAMMA)),
            [max(row) for row in known.tolist()],
        ),
        "expected sarsa": (partial(Tabular, settings=EXPECTED_SARSA.replace(gamma=GAMMA)), mixed),
        # what would have come after a cut counts as nothing
        "monte carlo": (
            partial(MonteCarlo, settings=MonteCarlo.Settings(gamma=GAMMA)),
            [0.0, 0.0],
        ),
    }
    error = 0.0
    for make, worth in worths.values():
        table = ActionTable(Choices((4,)), Choices((2,)))
        table.q[2:] = known
        make(table, Stopwatch()).update(batch)
        for s in range(2):
            for a in range(2):
                own = (
                    ((batch.obs[:, 0] == s) & (batch.action[:, 0] == a))
                    .nonzero()
                    .flatten()
                    .tolist()
                )
                future = sum(worth[int(batch.obs[i, 1]) - 2] for i in own) / len(own)
                error = max(error, abs(float(table.q[s, a]) - (s + 2 * a + 0.5 + GAMMA * future)))
        error = max(error, relative([table.q[2:]], [known]))
    return TableRow(
        "Q4", f"{', '.join(worths)}", "the mean of all targets is Bellman's backup", error, 1e-12,
        f"largest difference over states and actions {error:.1e}",
    )  # fmt: skip


def value_rows() -> list[TableRow]:
    return [*dqn_rows(), tabular_row()]
