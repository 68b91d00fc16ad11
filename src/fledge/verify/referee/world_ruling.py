"""A trainer of agents is heard: the equations of its policy and of its critic, its expected policy
gradient by enumeration of episodes, and what minibatches change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fledge.next_command import write_command
from fledge.verify.referee import continuous, inverse
from fledge.verify.referee.equations import distance
from fledge.verify.referee.faults import name_second
from fledge.verify.referee.second_way import (
    NARROW,
    HasLoss,
    Resumes,
    SecondWay,
    differentiate,
)
from fledge.verify.referee.world_equations import (
    CUTS,
    actor_equations,
    cloning_equations,
    critic_equations,
    value_equations,
)
from fledge.verify.referee.world_expectation import expect, reinforce_variance
from fledge.verify.referee.world_question import (
    ROLLOUTS,
    Rollout,
    WorldHearing,
    WorldPeer,
    draw_rollouts,
)

SAME = 2e-5  # relative: rollout buffers hold float32
CLOSE = 1e-3  # relative, of differences of a float32 loss
CHANGED = 1e-4  # relative: a gradient is another one
TRIED = 2  # rollouts whose loss is differentiated


@dataclass(frozen=True)
class WorldRuling:
    """One row; the names mean what `Ruling`'s do. cosine, scale, bias and variance are of
    the policy's gradient beside ∇E[Σ γ^t r_t], None where there is no policy; of a learner of
    rewards, beside that of the demonstrations' likelihood.
    """

    peer: str
    version: str
    setting: str
    claim: str
    equation: str
    claimed: str
    residual: float
    cosine: float | None
    scale: float | None
    bias: float | None
    variance: float | None  # of one episode, once scaled, beside plain REINFORCE's
    pieces: float | None  # what two minibatches change; None where a trainer has no minibatches
    batches: int
    second: SecondWay
    resumed: str | None  # saved and loaded beside one that went through; None where it is not tried
    faults: tuple[str, ...]
    command: str

    def as_json(self) -> dict[str, Any]:
        row = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }
        return row | {"second": self.second.as_json()}


def rule_world(hearing: WorldHearing) -> WorldRuling:
    peer = hearing.build(hearing.problem)
    rollouts = list(_draw(hearing))
    answers = [peer.answer(rollout) for rollout in rollouts]
    equation, residual = _find(hearing, rollouts, answers)
    pieces = _cut(hearing, peer, rollouts, answers)
    expected = expect(hearing, peer)
    policy = expected if hearing.family == "actor" else None
    plain = reinforce_variance(hearing.problem.world, hearing.problem.logits) if policy else 1.0
    ruling = WorldRuling(
        peer.name,
        peer.version,
        hearing.told,
        hearing.claim,
        equation,
        hearing.equation,
        residual,
        expected.cosine if expected else None,
        expected.scale if expected else None,
        expected.bias if expected else None,
        policy.variance / plain if policy else None,
        pieces,
        len(expected.episodes) if expected else 0,
        (
            _take_differences(hearing, peer, rollouts, answers)
            if isinstance(peer, HasLoss) or expected is None
            else expected.sample()
        ),
        peer.resume() if hearing.resumes and isinstance(peer, Resumes) else None,
        (),
        write_command("verify", peer=hearing.peer, **name_file(hearing), **hearing.setting),
    )
    return replace(ruling, faults=tuple(_name_faults(ruling)))


def _draw(hearing: WorldHearing) -> Iterator[Rollout]:
    if hearing.family == "inverse":
        yield from map(inverse.show_states, inverse.draw_demonstrations(hearing.problem, ROLLOUTS))
    else:
        yield from draw_rollouts(hearing.problem)


def name_file(hearing: WorldHearing) -> dict[str, str]:
    """As a command names it, wherever the user has it."""
    return {"file": hearing.file.name} if hearing.file else {}


def _find(
    hearing: WorldHearing, rollouts: Sequence[Rollout], answers: Sequence[Tensor]
) -> tuple[str, float]:
    """The equations of the policy's part and the critic's, "" where one fits none."""
    problem = hearing.problem
    if hearing.family == "values":
        every = list(value_equations(problem))
        return _fit(every, rollouts, answers, hearing.equation.split("; "))
    if hearing.family == "inverse":
        every = list(inverse.inverse_equations(problem))
        return _fit(every, rollouts, answers, hearing.equation.split("; "))
    if hearing.family == "continuous":
        return _find_continuous(hearing, rollouts, answers)
    size = problem.logits.numel()
    if hearing.family == "cloning":
        every = list(cloning_equations(problem, hearing.entropy))
        return _fit(every, rollouts, [answer[:size] for answer in answers], [])
    claims = hearing.equation.split("; ")
    policy, apart = _fit(
        list(actor_equations(problem, hearing.entropy)),
        rollouts,
        [answer[:size] for answer in answers],
        claims,
    )
    parts, worst = [policy], apart
    if any(float(answer[size:].norm()) for answer in answers):
        critic, apart = _fit(
            list(critic_equations(problem)), rollouts, [a[size:] for a in answers], claims
        )
        parts, worst = [policy, critic], max(worst, apart)
    if not all(parts):
        return "", worst
    # What both say of a truncated step is said once.
    said = dict.fromkeys(piece for part in parts for piece in part.split("; "))
    ends = [piece for piece in said if piece in CUTS]
    return "; ".join([*(piece for piece in said if piece not in CUTS), *ends]), worst


def _find_continuous(
    hearing: WorldHearing, rollouts: Sequence[Rollout], answers: Sequence[Tensor]
) -> tuple[str, float]:
    problem, claims = hearing.problem, hearing.equation.split("; ")
    size = problem.critics.numel()
    actor, first = _fit(
        list(continuous.actor_equations(problem)), rollouts, [a[size:] for a in answers], claims
    )
    critic, second = _fit(
        list(continuous.critic_equations(problem)), rollouts, [a[:size] for a in answers], claims
    )
    return f"{actor}; {critic}" if actor and critic else "", max(first, second)


def _fit(
    every: list[tuple[str, Callable[[Rollout], Tensor]]],
    rollouts: Sequence[Rollout],
    answers: Sequence[Tensor],
    claims: Sequence[str],
) -> tuple[str, float]:
    """The equation of which every answer is the same multiple, the claimed one before others."""
    best = math.inf
    answer = torch.cat(list(answers))
    # A claim may be a multiple, and what it says of a truncated step stands at its end.
    claimed = [claim.removeprefix("2 × ").removeprefix("0.5 × ") for claim in claims]
    for name, update in sorted(
        every, key=lambda each: any(part not in claimed for part in each[0].split("; "))
    ):
        formula = torch.cat([update(rollout) for rollout in rollouts]).double()
        factor = float(answer @ formula / formula.square().sum())
        apart = distance(answer, factor * formula)
        best = min(best, apart)
        if apart < SAME:
            times = "" if abs(factor - 1) < SAME else f"{factor:.4g} × "
            return times + name, apart
    return "", best


def _cut(
    hearing: WorldHearing,
    peer: WorldPeer,
    rollouts: Sequence[Rollout],
    answers: Sequence[Tensor],
) -> float | None:
    if not hearing.minibatches or not getattr(peer, "cuts", True):
        return None
    return max(
        distance(peer.answer(rollout, pieces=2), answer)
        for rollout, answer in zip(rollouts, answers, strict=True)
    )


def _take_differences(
    hearing: WorldHearing,
    peer: Any,
    rollouts: Sequence[Rollout],
    answers: Sequence[Tensor],
) -> SecondWay:
    worst = 0.0
    for rollout, answer in list(zip(rollouts, answers, strict=True))[:TRIED]:
        slope = differentiate(
            lambda tables, rollout=rollout: peer.losses(rollout, tables),
            hearing.problem.table,
            NARROW,
        )
        worst = max(worst, distance(answer, -slope))
    return SecondWay("differences", apart=worst, agrees=worst < CLOSE)


def _name_faults(ruling: WorldRuling) -> Iterator[str]:
    measured, claimed = ruling.equation.split("; "), ruling.claimed.split("; ")
    if not ruling.equation:
        yield f"none of the equations fits: the nearest is {ruling.residual:.1e} away"
    elif ruling.claimed:
        for piece in measured:
            if piece not in claimed:
                other = [each for each in claimed if each not in measured]
                yield f"computes “{piece}”" + (f", claims “{'; '.join(other)}”" if other else "")
    if ruling.pieces is not None and ruling.pieces > CHANGED:
        yield f"two minibatches change the gradient by up to {ruling.pieces:.1%}"
    if not ruling.second.agrees:
        yield name_second(ruling)
