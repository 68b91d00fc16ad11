"""Model-predictive control: a sequence is planned at every step, its first action is done, and the
rest is where the next plan begins (Richalet et al. 1978; Chua et al. 2018, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.plan.proposals import NumberProposal, Proposal, propose_anything
from fledge.plan.shooting import Search
from fledge.worlds.world import Space

# observations [B, *O], sequences [B, N, H, *A], generator -> [B, N]
WorthThere = Callable[[Tensor, Tensor, torch.Generator], Tensor]


class LookingAhead:
    """Acts in B copies side by side. What was planned for the step after the last is where the next
    plan begins, but in a copy that begins anew.

    State: what is drawn from in each copy.
    """

    def __init__(
        self,
        action: Space,
        search: Search,
        worth: WorthThere,
        horizon: int,
        *,
        least: float = 0.05,
    ) -> None:
        """least: the smallest spread of numbers, as a share of the bounds' distance."""
        self.action, self.search, self.worth = action, search, worth
        self.horizon, self.least = horizon, least
        self.proposal: Proposal | None = None
        self.foreseen: Tensor | None = None  # [B], what the last plans were worth

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """[B, *O] -> [B, *A]"""
        if self.proposal is None or len(self.proposal.middle()) != len(obs):
            self.proposal = propose_anything(self.action, len(obs), self.horizon, least=self.least)
        plan = self.search(
            self.proposal, lambda sequences: self.worth(obs, sequences, generator), generator
        )
        self.proposal, self.foreseen = plan.proposal.shift(), plan.worth
        return plan.sequence[:, 0].reshape(len(obs), *self.action.shape)

    def begin_anew(self, which: Tensor) -> None:
        """The copies [B] bool whose next observation is the first of an episode."""
        if self.proposal is not None and bool(which.any()):
            self.proposal = self.proposal.begin_anew(which)

    def state_dict(self) -> dict[str, Any]:
        if self.proposal is None:
            return {}
        if isinstance(self.proposal, NumberProposal):
            return {"mean": self.proposal.mean, "spread": self.proposal.spread}
        return {"chance": self.proposal.chance}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.proposal = None
        if not state:
            return
        copies = len(next(iter(state.values())))
        open_ = propose_anything(self.action, copies, self.horizon, least=self.least)
        if isinstance(open_, NumberProposal):
            mean, spread = state["mean"], state["spread"]
            self.proposal = NumberProposal(
                mean, spread, open_.low, open_.high, open_.first, open_.least
            )
        else:
            self.proposal = type(open_)(state["chance"], open_.floor)
