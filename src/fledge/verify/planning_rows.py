"""Learned worlds and planning beside enumeration and linear algebra: tables over counts,
posteriors, the worth of a sequence, planners in a world that is known.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from fledge.algorithms.parts.action_table import ActionTable
from fledge.algorithms.value.dyna import Dyna
from fledge.algorithms.value.imagined_value import imagine_best
from fledge.algorithms.value.prioritised_sweeping import PrioritisedSweeping
from fledge.exact.linear_quadratic import riccati
from fledge.exact.mdp import random_mdp
from fledge.models.control.counted_world import CountedWorld, Prior
from fledge.models.control.imagined import Imagined
from fledge.plan.proposals import NumberProposal, propose_anything
from fledge.plan.rolling_out import roll_out
from fledge.plan.shooting import CrossEntropy, PathIntegral, Search, Slope
from fledge.plan.world_copies import TableDynamics
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.verify.rows import TableRow
from fledge.verify.value_rows import seeded
from fledge.worlds.mdp import MDP
from fledge.worlds.world import Choices

STATES, ACTIONS, GAMMA, TENTHS = 5, 2, 0.8, 10


def countable_process() -> tuple[Tensor, Tensor]:
    """Chances in tenths, [A, S, S], and rewards [S, A]."""
    random = seeded(71)
    even = torch.ones(ACTIONS * STATES, STATES)
    drawn = even.multinomial(TENTHS, replacement=True, generator=random)
    count = torch.nn.functional.one_hot(drawn, STATES).sum(1).double()
    reward = torch.randn(STATES, ACTIONS, dtype=torch.float64, generator=random)
    return (count / TENTHS).view(ACTIONS, STATES, STATES), reward


def best_by_enumeration(chance: Tensor, reward: Tensor) -> Tensor:
    """Q* as the best of all A^S policies, each by a linear solve.  -> [S, A]"""
    states, best = torch.arange(STATES), torch.full((STATES,), -torch.inf, dtype=torch.float64)
    for policy in itertools.product(range(ACTIONS), repeat=STATES):
        acts = torch.tensor(policy)
        open_ = torch.eye(STATES, dtype=torch.float64) - GAMMA * chance[acts, states]
        best = torch.maximum(best, torch.linalg.solve(open_, reward[states, acts]))
    return reward + GAMMA * torch.einsum("ast,t->sa", chance, best)


def as_steps(chance: Tensor, reward: Tensor) -> Trajectories:
    """Each outcome as often as it is likely, as rows of one step."""
    action, state, after = (chance > 0).nonzero(as_tuple=True)
    times = (chance[action, state, after] * TENTHS).round().long()
    action, state, after = (x.repeat_interleave(times) for x in (action, state, after))
    no = torch.zeros(len(action), 1, dtype=torch.bool)
    return Trajectories(
        torch.stack([state, after], 1), action[:, None], ~no, reward[state, action][:, None], no, no
    )


def counted_rows() -> list[TableRow]:
    chance, reward = countable_process()
    steps, expected, rows = as_steps(chance, reward), best_by_enumeration(chance, reward), []
    for id, subject in (("R13.1", "Dyna-Q over counts"), ("R13.2", "prioritised sweeping")):
        table = ActionTable(Choices((STATES,)), Choices((ACTIONS,)))
        kind: dict[str, Any] = {"gamma": GAMMA, "planning_steps": 800}
        if id == "R13.1":
            Dyna(table, Stopwatch(), Dyna.Settings(**kind), generator=seeded(72)).update(steps)
        else:
            settings = PrioritisedSweeping.Settings(**kind, threshold=1e-9)
            PrioritisedSweeping(table, Stopwatch(), settings).update(steps)
        error = float((table.q - expected).abs().max())
        said = f"every outcome as often as it is likely: Q* of {ACTIONS**STATES} policies to "
        rows.append(TableRow(id, subject, "its table is Q*", error, 1e-6, f"{said}{error:.1e}"))
    return rows


def posterior_row() -> TableRow:
    """(α/(S+1) + n) / (α + Σ n), counted here once more."""
    chance, reward = countable_process()
    steps, prior = as_steps(chance, reward), Prior(chances=3.0)
    world = CountedWorld(STATES, ACTIONS)
    count = torch.zeros(ACTIONS, STATES, STATES + 1, dtype=torch.float64)
    for s, a, paid, after in zip(
        steps.obs[:, 0].tolist(), steps.action[:, 0].tolist(), steps.reward[:, 0].tolist(),
        steps.obs[:, 1].tolist(), strict=True,
    ):  # fmt: skip
        world.see(s * ACTIONS + a, paid, after)
        count[a, s, after] += 1
    expected = (3.0 / (STATES + 1) + count) / (3.0 + count.sum(-1, keepdim=True))
    said = world.expect(prior, GAMMA).dense()[:, :STATES]
    error = float((said - expected).abs().max())
    return TableRow(
        "R13.3", "a counted world", "its mean is the Dirichlet's", error, 1e-12,
        f"the posterior's mean is (α + n) / Σ (α + n) to {error:.1e}",
    )  # fmt: skip


def worth_row() -> TableRow:
    """Of every sequence of actions, over all trajectories."""
    mdp, _ = random_mdp(3, 2, 3, GAMMA, seed=73)
    sequences = torch.cartesian_prod(*[torch.arange(2)] * 3)[None]
    dynamics = TableDynamics(MDP(mdp.transition, mdp.reward, GAMMA))
    error = 0.0
    for start in range(3):
        said = roll_out(dynamics, torch.tensor([start]), sequences, GAMMA, seeded(0))[0]
        for number, sequence in enumerate(sequences[0]):
            mine = (mdp.state[:, 0] == start) & (mdp.action == sequence).all(1)
            worth = (mdp.chance * mdp.back)[mine].sum() / mdp.start[start]
            error = max(error, float((said[number] - worth).abs()))
    return TableRow(
        "R13.4", "a sequence looked ahead", "its worth is an expectation", error, 1e-12,
        f"all {sequences.shape[1]} sequences from 3 states over all trajectories, to {error:.1e}",
    )  # fmt: skip


class LinearWorld:
    """s′ = A s + B a, paid −(sᵀ Q s + aᵀ R a)."""

    A = torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=torch.float64)
    B = torch.tensor([[0.0], [0.1]], dtype=torch.float64)
    Q = torch.diag(torch.tensor([1.0, 0.1], dtype=torch.float64))
    R = torch.tensor([[0.05]], dtype=torch.float64)
    STEPS = 10

    def begin(self, obs: Tensor, candidates: int) -> Tensor:
        return obs.repeat_interleave(candidates, 0)

    def step(self, state: Tensor, action: Tensor, generator: torch.Generator) -> Imagined:
        cost = ((state @ self.Q) * state).sum(1) + ((action @ self.R) * action).sum(1)
        after = state @ self.A.T + action @ self.B.T
        return Imagined(after, -cost[None], torch.ones_like(cost)[None])

    def observe(self, state: Tensor) -> Tensor:
        return state[None]

    def final(self, seen: Tensor) -> Tensor:
        return -((seen @ self.Q) * seen).sum(-1)


def linear_rows() -> list[TableRow]:
    """The first action that each planner takes, beside −K s."""
    world = LinearWorld()
    gain, _ = riccati(world.A, world.B, world.Q, world.R, world.Q, world.STEPS)
    obs = torch.tensor([[0.5, 0.0], [-0.3, 0.8]], dtype=torch.float64)
    searches: dict[str, tuple[Search, float]] = {
        "the cross-entropy method": (CrossEntropy(200, 20, 30), 1.5),
        "path integrals": (PathIntegral(400, 40, 0.3), 0.15),
        "climbing the slope": (Slope(4, 200), 1.5),
    }
    far, rows = torch.full((1,), 6.0, dtype=torch.float64), []
    for number, (name, (search, spread)) in enumerate(searches.items(), 5):
        mean = torch.zeros(2, world.STEPS, 1, dtype=torch.float64)
        open_ = NumberProposal(mean, torch.full_like(mean, spread), -far, far)
        worth = lambda sequences: roll_out(world, obs, sequences, 1.0, seeded(0), world.final)  # noqa: E731
        plan = search(open_, worth, seeded(74))
        error = float((plan.sequence[:, 0] + obs @ gain.T).abs().max())
        said = f"a linear world: Riccati's first action, of up to 1.4, to {error:.3f}"
        rows.append(
            TableRow(f"R13.{number}", name, "it is Riccati's controller", error, 0.05, said)
        )
    return rows


def true_world_row() -> TableRow:
    """The share of states in which a planner takes another action than the only best one."""
    chance, reward = countable_process()
    q = best_by_enumeration(chance, reward)
    two = q.topk(2, 1).values
    sure = two[:, 0] - two[:, 1] > 0.01
    dynamics, value = TableDynamics(MDP(chance, reward, GAMMA)), q.amax(1)
    worth = lambda sequences: roll_out(  # noqa: E731
        dynamics, torch.arange(STATES), sequences, GAMMA, seeded(0), lambda b: b @ value
    )
    plan = CrossEntropy(64, 8, 3)(
        propose_anything(Choices((ACTIONS,)), STATES, 1), worth, seeded(75)
    )
    wrong = float((plan.sequence[:, 0] != q.argmax(1))[sure].double().mean())
    return TableRow(
        "R13.8", "planning in the true world", "it takes the best action", wrong, 0.0,
        f"value iteration's action in all {int(sure.sum())} states where it is unique"
        if not wrong else f"another action in {100 * wrong:.0f} % of the states",
    )  # fmt: skip


def imagined_value_row() -> TableRow:
    """The fixed point of the value that a planner is taught, sequences of one step."""
    chance, reward = countable_process()
    dynamics, value = TableDynamics(MDP(chance, reward, GAMMA)), torch.zeros(STATES).double()
    for sweep in range(80):  # γ^80 is 2e-8
        value = imagine_best(
            dynamics, Choices((ACTIONS,)), torch.arange(STATES), steps=1, candidates=64,
            gamma=GAMMA, generator=seeded(sweep), final=lambda b, value=value: b @ value,
        ).double()  # fmt: skip
    error = float((value - best_by_enumeration(chance, reward).amax(1)).abs().max())
    return TableRow(
        "R13.9", "a value of what is imagined", "it is the optimal value", error, 1e-5,
        f"V* of the best of {ACTIONS**STATES} policies, to {error:.1e}",
    )  # fmt: skip


def planning_rows() -> list[TableRow]:
    return [
        *counted_rows(), posterior_row(), worth_row(), *linear_rows(), true_world_row(),
        imagined_value_row(),
    ]  # fmt: skip
