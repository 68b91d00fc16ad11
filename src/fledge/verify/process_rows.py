"""Actor and critic on a process that can be written down: the mean of their updates over all
trajectories, and the natural gradient's step.

The state that they see is the place and the time, so that a table can hold what there is to know;
the critic is wrong, so that it shows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fledge.algorithms.policy.actor_critic import AdvantageActorCritic
from fledge.algorithms.policy.natural_gradient import (
    NaturalGradient,
)
from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.policy.trpo import TRPO
from fledge.exact.mdp import EnumeratedMDP, random_mdp
from fledge.models.control.actor_critic import ActorCritic
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.verify.rows import TableRow
from fledge.verify.value_rows import record_gradients, relative, seeded
from fledge.worlds.world import Choices

STATES, ACTIONS, STEPS = 2, 2, 3  # 64 trajectories
LAMBDA, ENTROPY, VALUE = 0.5, 0.3, 0.7
LIMIT = 0.3  # nats: so far that the quadratic model misleads, and the search has something to do


class Tables(nn.Module):
    """π(·|s) and V(s, t) as numbers of their own; an observation is s + S·t."""

    def __init__(self, logits: Tensor, values: Tensor) -> None:
        """[S, A], [H+1, S]"""
        super().__init__()
        self.logits, self.values = nn.Parameter(logits.clone()), nn.Parameter(values.clone())

    def evaluate(
        self, obs: Tensor, action: Tensor, chosen: Tensor, *, entropy: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        logp = self.logits.log_softmax(-1)[obs[:, : action.shape[1]] % STATES]  # [B, T, A]
        spread = -(logp.exp() * logp).sum(-1) if entropy else torch.zeros_like(logp[..., 0])
        return logp.gather(-1, action[..., None]).squeeze(-1), spread, self.values.flatten()[obs]


def trajectory(mdp: EnumeratedMDP, number: int) -> Trajectories:
    """One row, which ends with its last step."""
    state = torch.cat([mdp.state[number], torch.zeros(1, dtype=torch.long)])
    obs = (state + STATES * torch.arange(STEPS + 1))[None]
    chosen = torch.ones(1, STEPS, dtype=torch.bool)
    ends = torch.arange(STEPS)[None] == STEPS - 1
    return Trajectories(
        obs, mdp.action[number][None], chosen, mdp.worth[number][None], ends, torch.zeros_like(ends)
    )


def expected_steps(mdp: EnumeratedMDP, logits: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """What a mean over the steps of Â·∇log π + c·∇H adds to the logits, and −½v·∇(V − R̂)² to the
    values, over all trajectories.

    By induction, as in `bootstrapped_gradient`, γ = 1: D_t is the mean of Â at a step, V + D that
    of the critic's target. [S, A], [H+1, S] -> the same
    """
    policy = logits.softmax(-1)
    later, ahead, credit = torch.zeros(STATES).double(), torch.zeros(STATES).double(), []
    for t in reversed(range(STEPS)):
        step = (
            mdp.reward
            + torch.einsum("asn,n->sa", mdp.transition, later + LAMBDA * ahead)
            - values[t][:, None]
        )
        later, ahead = values[t], (policy * step).sum(-1)
        credit.insert(0, step)
    seen, actor, critic = mdp.start, torch.zeros_like(logits), torch.zeros_like(values)
    surprise = -policy.log()
    for t, step in enumerate(credit):
        worth = step + ENTROPY * surprise  # ∇H = −Σ_a ∇π·log π
        actor += seen[:, None] * policy * (worth - (policy * worth).sum(-1, keepdim=True)) / STEPS
        critic[t] = VALUE * seen * (policy * step).sum(-1) / STEPS
        seen = torch.einsum("s,sa,asn->n", seen, policy, mdp.transition)
    return actor, critic


def update_row(id: str, subject: str, make: Callable[..., Any]) -> TableRow:
    mdp, logits = random_mdp(STATES, ACTIONS, STEPS, 1.0, seed=61)
    values = torch.randn(STEPS + 1, STATES, dtype=torch.float64, generator=seeded(62))
    chance = mdp.prob(logits)
    actor, critic = torch.zeros_like(logits), torch.zeros_like(values)
    for number, p in enumerate(chance.tolist()):
        tables = Tables(logits, values)
        learner, taken = record_gradients(tables)
        make(tables, learner, Stopwatch()).update(trajectory(mdp, number))
        actor -= p * taken[0][0]
        critic -= p * taken[0][1]
    wanted = expected_steps(mdp, logits, values)
    error = max(relative([actor], wanted[:1]), relative([critic], wanted[1:]))
    said = f"actor, entropy bonus and critic over all {len(chance)} trajectories to {error:.1e}"
    return TableRow(id, subject, "the mean update is its formula's", error, 1e-10, said)


def ppo_of_steps(tables: Tables, learner: Any, stopwatch: Stopwatch) -> PPO:
    settings = PPO.InWorlds(
        gae_lambda=LAMBDA, value_coefficient=VALUE, entropy_coefficient=ENTROPY,
        whiten_advantage=False,
        updates_per_step=1, value_clip=None,
    )  # fmt: skip
    return PPO(tables, learner, stopwatch, settings, generator=seeded(63))


def natural_row(id: str, subject: str, trust_region: bool) -> TableRow:
    """The table of a softmax: F has a block d(s)·(diag π − π πᵀ) for each state, and the step
    solves (F + δ·1)x = ∇J.
    """
    mdp, logits = random_mdp(STATES, ACTIONS, STEPS, 1.0, seed=69)
    both: Any = ActorCritic(
        Choices((STATES,)),
        Choices((ACTIONS,)),
        generator=seeded(65),
        actor=nn.Linear(STATES, ACTIONS, bias=False),
    )
    with torch.no_grad():
        both.actor.weight.copy_(logits.T)
        both.critic[-1].weight.zero_()
        both.critic[-1].bias.zero_()
    state, action, reward = mdp.state, mdp.action, mdp.worth.float()  # every trajectory once
    rows, ends = len(state), torch.arange(STEPS).expand(len(state), -1) == STEPS - 1
    obs = torch.cat([state, state[:, :1]], 1)
    batch = Trajectories(obs, action, torch.ones_like(ends), reward, ends, torch.zeros_like(ends))
    learner, _ = record_gradients(both.critic)
    usual = TRPO.replace(update_kl=LIMIT)
    if not trust_region:
        usual = NaturalGradient.Settings(natural_rate=0.7)
    settings = usual.replace(
        gamma=1.0, gae_lambda=1.0, damping=0.01, solver_steps=20, updates_per_step=1, epochs=1
    )
    figures = NaturalGradient(both, learner, Stopwatch(), settings, generator=seeded(66)).update(
        batch
    )
    moved = (both.actor.weight.detach().T - logits).double().flatten()
    pi, count = logits.softmax(-1), rows * STEPS
    to_go = mdp.worth.flip(1).cumsum(1).flip(1)
    credit = (to_go - to_go.mean()) / to_go.std()
    fisher, gradient = (
        torch.zeros(2, 2, 2, 2, dtype=torch.float64),
        torch.zeros(STATES, ACTIONS, dtype=torch.float64),
    )
    for s in range(STATES):
        here = state == s
        fisher[s, :, s, :] = here.sum() / count * (torch.diag(pi[s]) - pi[s][:, None] * pi[s])
        for a in range(ACTIONS):
            gradient[s, a] = (
                credit[here] * ((action[here] == a).double() - pi[s, a])
            ).sum() / count
    curved = fisher.view(4, 4) + 0.01 * torch.eye(4, dtype=torch.float64)
    direction = torch.linalg.solve(curved, gradient.flatten())
    # by the quadratic model
    whole = direction * (2 * LIMIT / (direction @ curved @ direction)).sqrt()

    def measured(step: Tensor) -> tuple[float, float]:
        """The gain over the batch, and the KL from the old policy over its states."""
        new = (logits + step.view_as(logits)).log_softmax(-1)
        gain = ((new - pi.log()).exp()[state, action] * credit - credit).mean()
        return float(gain), float((pi * (pi.log() - new)).sum(-1)[state].mean())

    wanted = 0.7 * direction
    if trust_region:  # the first that fits of lengths that shrink by 0.8
        shares = [0.8**k for k in range(10)]
        wanted = whole * next(share for share in shares if measured(share * whole)[1] <= LIMIT)
    gain, kl = measured(wanted)
    error = max(
        relative([moved], [wanted]),
        abs(figures["policy_kl"] - kl),
        abs(figures["policy_gain"] - gain),
    )
    claim = "as far along F⁻¹∇J as the KL may be" if trust_region else "goes along F⁻¹∇J"
    said = f"step, gain {gain:.3f} and KL {kl:.4f} by a linear system, to {error:.1e}"
    return TableRow(id, subject, claim, error, 1e-5, said)


def process_rows() -> list[TableRow]:
    settings = {
        "gamma": 1.0,
        "gae_lambda": LAMBDA,
        "value_coefficient": VALUE,
        "entropy_coefficient": ENTROPY,
    }
    return [
        update_row(
            "R10.1",
            "actor–critic (A2C), a wrong critic, an entropy bonus",
            partial(AdvantageActorCritic, settings=AdvantageActorCritic.Settings(**settings)),
        ),
        update_row(
            "R10.2", "ppo by steps, first step, a wrong critic, an entropy bonus", ppo_of_steps
        ),
        natural_row("R10.3", "natural gradient", trust_region=False),
        natural_row("R10.4", "trpo", trust_region=True),
    ]
