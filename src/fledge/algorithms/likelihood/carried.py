"""Maximum likelihood over a state that is carried from step to step: truncated back-propagation
through time (Williams & Peng 1990; Mikolov et al. 2010).

sample: data, each row where the same row of the step before ended.  score: –.  weigh: 1.  fit: nll,
    whose gradient goes back to the beginning of the row and not to the state it began from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fledge import rank_sums
from fledge.fit import nll, total
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Rows, Trajectories


@dataclass(frozen=True)
class Continued(Rows):
    """Rows of text and the state that each begins from."""

    text: Trajectories
    state: Tensor  # [B, L, S]
    number: Tensor  # [B], of the row in its step


class Carried:
    """state: of every row of a step, as the step before left it, [B, L, S]; empty at first, and
    where a document begins.
    """

    unfinished = None  # an update is one optimizer step: there is nothing to be in the middle of

    def __init__(self, policy: TokenPolicy, learner: Learner, stopwatch: Stopwatch) -> None:
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.state: Tensor | None = None

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step on the batch. loss: nats per trained token."""
        network: Any = self.policy.network  # a Recurrent
        count = self.learner.count(batch.chosen)
        state = network.empty(len(batch)) if self.state is None else self.state
        rows = Continued(batch, state, torch.arange(len(batch)))
        ends = torch.zeros_like(state)

        def loss(piece: Continued) -> tuple[Tensor, Mapping[str, Tensor]]:
            text = piece.text
            # A reader may be cut off inside a document or begin one with its first token: the
            # first token of a row, too, may empty its state.
            tokens = text.obs[:, :-1]
            mask = None if network.border is None else tokens == network.border
            some = mask is not None and bool(mask.any())
            hidden, end = network.read_on(tokens, piece.state, mask if some else None)
            if torch.is_grad_enabled():  # and not where the learner looks at what the step made
                ends[piece.number] = end.to(ends.dtype)
            logp, _ = self.policy.evaluate(text.obs, text.action, text.chosen, hidden=hidden)
            return total(nll(logp), text.chosen, count), {}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, rows)
        own = rank_sums.own_rows(rows).number.to(ends.device)
        self.state = rank_sums.join_rows(ends[own], rows) if len(own) < len(rows) else ends
        return said | {"tokens": float(count)}

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "state": self.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.state = state["state"]
