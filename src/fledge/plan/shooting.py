"""Looking for a good sequence of actions by trying many: random shooting, the cross-entropy method,
path integrals, and the slope of what a sequence is worth.

Cross-entropy: Rubinstein 1999; over learned models, with the mean of the last round: Chua et al.
2018, algorithm 1. Path integrals (MPPI): Williams et al. 2017, "Information Theoretic MPC", eq. 26
and algorithm 2. What a sequence is worth is a function that is given; all of B situations at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.proposals import ChoiceProposal, NumberProposal, Proposal

# sequences [B, N, H] of choices or [B, N, H, A] of numbers -> [B, N]
Worth = Callable[[Tensor], Tensor]


class Plan(NamedTuple):
    """What was settled on: a sequence [B, H] or [B, H, A], what the best sequence that was tried is
    worth [B], and what was drawn from in the end.
    """

    sequence: Tensor
    worth: Tensor
    proposal: Proposal


class Search(Protocol):
    def __call__(self, proposal: Proposal, worth: Worth, generator: torch.Generator) -> Plan: ...


class _Best:
    """The best sequence so far of each situation."""

    def __init__(self) -> None:
        self.worth: Tensor | None = None

    def see(self, sequences: Tensor, worth: Tensor) -> None:
        value, place = worth.max(1)
        pick = place.view(-1, *[1] * (sequences.ndim - 1)).expand(-1, 1, *sequences.shape[2:])
        own = sequences.gather(1, pick).squeeze(1)
        if self.worth is None:
            self.worth, self.sequence = value, own
            return
        better = value > self.worth
        self.worth = torch.where(better, value, self.worth)
        self.sequence = torch.where(better.view(-1, *[1] * (own.ndim - 1)), own, self.sequence)


@dataclass(frozen=True)
class CrossEntropy:
    """candidates: sequences a round, of which `kept` move what those of the next round are drawn
    from; momentum: how much of it stays. rounds=1 is random shooting.

    Of choices the best sequence of all rounds is taken; of numbers the last mean, which no lucky
    draw of a world by chance decides, but after a single round the best as well.
    """

    candidates: int = 64
    kept: int = 8
    rounds: int = 3
    momentum: float = 0.0

    def __call__(self, proposal: Proposal, worth: Worth, generator: torch.Generator) -> Plan:
        best = _Best()
        for _ in range(self.rounds):
            drawn = proposal.draw(self.candidates, generator)
            value = worth(drawn)  # [B, N]
            best.see(drawn, value)
            order = value.argsort(dim=1, descending=True, stable=True)[:, : self.kept]
            pick = order.view(*order.shape, *[1] * (drawn.ndim - 2)).expand(
                -1, -1, *drawn.shape[2:]
            )
            even = torch.full_like(value[:, : self.kept], 1 / order.shape[1])
            proposal = proposal.move(drawn.gather(1, pick), even, self.momentum)
        assert best.worth is not None
        lucky = isinstance(proposal, ChoiceProposal) or self.rounds == 1
        return Plan(best.sequence if lucky else proposal.middle(), best.worth, proposal)


@dataclass(frozen=True)
class PathIntegral:
    """MPPI: every candidate counts by exp(worth / temperature), and the spread stays as it was.
    temperature: in standard deviations of the candidates' worth, so that no unit of reward matters.
    """

    candidates: int = 64
    rounds: int = 3
    temperature: float = 0.5

    def __call__(self, proposal: Proposal, worth: Worth, generator: torch.Generator) -> Plan:
        best = _Best()
        for _ in range(self.rounds):
            drawn = proposal.draw(self.candidates, generator)
            value = worth(drawn)
            best.see(drawn, value)
            unit = value.std(1, correction=0, keepdim=True).clamp(min=1e-8)
            weight = (value / (self.temperature * unit)).softmax(1)
            if isinstance(proposal, NumberProposal):
                proposal = proposal.move_mean(drawn, weight)
            else:
                proposal = proposal.move(drawn, weight)
        assert best.worth is not None
        return Plan(proposal.middle(), best.worth, proposal)


@dataclass(frozen=True)
class Slope:
    """Gradient shooting: sequences drawn at random climb the slope of what they are worth, by Adam,
    `rounds` steps; the best of all that were on the way is taken. It needs numbers, and a world
    whose worth can be differentiated.
    """

    candidates: int = 8
    rounds: int = 20
    rate: float = 0.1  # of the bounds' distance, a step

    def __call__(self, proposal: Proposal, worth: Worth, generator: torch.Generator) -> Plan:
        """Raises UserError for choices, and where the worth has no slope."""
        if not isinstance(proposal, NumberProposal):
            raise UserError(
                "planner=gradient climbs a slope, and there is none between choices: give "
                "planner=cem, mppi or shooting."
            )
        drawn = proposal.draw(self.candidates, generator)
        drawn[:, 0] = proposal.mean  # what was planned a step ago is one of them
        best, first, second = _Best(), torch.zeros_like(drawn), torch.zeros_like(drawn)
        reach = proposal.high - proposal.low
        for step in range(1, self.rounds + 1):
            drawn.requires_grad_(True)
            with torch.enable_grad():
                value = worth(drawn)
                if not value.requires_grad:
                    raise UserError(
                        "planner=gradient climbs a slope, and this world is acted in by copies, "
                        "which have none: give planner=cem, mppi or shooting, or a learned model."
                    )
                slope = torch.autograd.grad(value.sum(), drawn)[0]
            drawn = drawn.detach()
            best.see(drawn, value.detach())
            slope = slope * reach  # in units of the bounds
            first = first.lerp(slope, 0.1)
            second = second.lerp(slope.square(), 0.01)
            moment = (first / (1 - 0.9**step)) / ((second / (1 - 0.99**step)).sqrt() + 1e-8)
            rate = self.rate * (1 - (step - 1) / self.rounds)  # down to nothing: it comes to rest
            drawn = (drawn + rate * reach * moment).clamp(proposal.low, proposal.high)
        with torch.no_grad():
            best.see(drawn, worth(drawn))
        assert best.worth is not None
        alone = torch.ones_like(best.worth)[:, None]
        return Plan(best.sequence, best.worth, proposal.move_mean(best.sequence[:, None], alone))
