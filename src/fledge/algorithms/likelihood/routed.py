"""Maximum likelihood of a network with experts, whose routers are kept from sending every token to
the same few.

sample: data.  score: –.  weigh: 1.  fit: nll, and two losses of each router; or a bias that is
    moved after the step (see `routing_losses`).

The balance loss is E Σ_e f_e P_e, a product of two means over all tokens of the optimizer step. P
adds up over micro-batches and ranks as every loss does; f does not, since it is multiplied with a P
of other tokens. So f is counted over the whole step before anything is differentiated: in the
forward pass itself where the step is one piece on one rank, else in a pass ahead without gradient.
The bias needs none: what it is moved by is counted as the step is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from fledge import rank_sums, ranks
from fledge.algorithms.likelihood.routing_losses import balance_loss, correct_bias, router_z_loss
from fledge.fit import nll, total
from fledge.learner import Learner
from fledge.models.language.mixture import (
    Routing,
    compute_scores,
    count_room,
    limit_experts,
    list_mixtures,
    watch_routing,
)
from fledge.policy import TokenPolicy
from fledge.sharded import held_whole
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Rows, Trajectories


class RoutingSettings(BaseModel):
    """How experts are kept in use."""

    balance_loss: float | None = Field(
        default=None, ge=0,
        description="experts: weight of the balance loss of each router (0.01 by default, 0 with "
        "bias_rate)",
    )  # fmt: skip
    router_z_loss: float = Field(
        default=1e-3, ge=0, description="experts: weight of the squared log-sum of router's logits"
    )
    bias_rate: float = Field(
        default=0.0, ge=0,
        description="experts: what a step moves each router's bias by, towards experts that were "
        "chosen too rarely, in place of the balance loss (0.001 is usual; 0: there is no bias)",
    )  # fmt: skip
    capacity: float | None = Field(
        default=None, gt=0,
        description="experts: how often each answers in a row while training, as a multiple of an "
        "even share; beyond it a token passes by (none: all are answered)",
    )  # fmt: skip

    @property
    def balance_weight(self) -> float:
        """Of the balance loss."""
        if self.balance_loss is not None:
            return self.balance_loss
        return 0.0 if self.bias_rate else 0.01


@dataclass(frozen=True)
class NumberedRows(Rows):
    """Rows of text, and the number of each in its step."""

    text: Trajectories
    number: Tensor  # [B]


class Routed:
    unfinished = None  # an update is one optimizer step: there is nothing to be in the middle of

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: RoutingSettings,
    ) -> None:
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings = settings
        self.mixtures = list_mixtures(policy.network)
        self.experts = self.mixtures[0].experts

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """One optimizer step on the batch, none where no token of it is trained. loss: nats per
        trained token. expert_load: each expert's share of its layer's choices, [L, E].
        """
        if not bool(batch.chosen.any()):
            return self.learner.skip()
        capacity, steps = self.settings.capacity, batch.chosen.shape[1]
        room = count_room(capacity, steps, self.experts) if capacity else 0
        with self.stopwatch.phase("fit"), limit_experts(self.policy.network, room):
            return self._step(NumberedRows(batch, torch.arange(len(batch))))

    def _step(self, rows: NumberedRows) -> dict[str, Any]:
        learner, s = self.learner, self.settings
        count = learner.count(rows.text.chosen)
        read = learner.count(find_read(rows.text))  # tokens that routers see
        choices = self._make_tally(rows)
        in_pieces = ranks.world() > 1 or learner.micro_batches.count(rows, rows.number) > 1
        ahead = self._count_ahead(rows) if s.balance_weight and in_pieces else None

        def loss(piece: NumberedRows) -> tuple[Tensor, Mapping[str, Tensor]]:
            text, real = piece.text, find_read(piece.text)
            said, hidden = self._read(text)
            own = count_choices(said, real, self.experts.number)  # [b, L, E]
            if torch.is_grad_enabled():  # and not where the learner looks at what the step made
                choices[piece.number] = own
            chosen = find_shares(own.sum(0)) if ahead is None else ahead
            logp, _ = self.policy.evaluate(text.obs, text.action, text.chosen, hidden=hidden)
            likelihood = total(nll(logp), text.chosen, count)
            balance, z, figures = self._judge_routers(said, real.flatten(), chosen, read)
            share = likelihood + s.balance_weight * balance + s.router_z_loss * z
            return share, {"loss": likelihood, **figures}

        said = learner.step(loss, rows)
        load = find_shares(self._join(choices, rows).sum(0))  # [L, E]
        if "steps_skipped" not in said:
            self._correct_biases(load)
        return {
            **said,
            "tokens": float(count),
            "busiest_expert": float(load.max()) * self.experts.number,
            "expert_load": [[round(share, 4) for share in layer] for layer in load.tolist()],
        }

    def _read(self, text: Trajectories) -> tuple[list[Routing], Tensor]:
        """What routers say of each token, layer after layer, and the hidden states."""
        network: Any = self.policy.network
        tokens = text.obs[:, :-1]
        with watch_routing(network) as said:
            hidden = network(tokens, network.document_mask(tokens))
        return said, hidden

    def _judge_routers(
        self, said: Sequence[Routing], real: Tensor, chosen: Tensor, read: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Some tokens' shares of the two losses, each summed over layers, and of the figures, which
        are means over layers.  real [N], chosen [L, E]
        """
        layers, used = len(said), self.experts.used
        balance = z = chosen.new_zeros(())
        entropy, dropped = chosen.new_zeros(()), chosen.new_zeros(())
        for layer, one in enumerate(said):
            logits = one.logits[real]
            score = compute_scores(logits, self.experts)
            score = score / score.sum(-1, keepdim=True)  # [n, E]
            balance = balance + balance_loss(chosen[layer], score.sum(0) / read)
            z = z + router_z_loss(logits).sum() / read
            entropy = entropy + torch.special.entr(score.detach()).sum() / read
            dropped = dropped + (~one.kept[real]).sum() / (used * read)
        figures = {"router_z": z, "routing_entropy": entropy}
        if self.settings.balance_weight:  # else `chosen` is that of these tokens alone
            figures["balance"] = balance
        if self.settings.capacity:
            figures["dropped_share"] = dropped
        return balance, z, {name: value / layers for name, value in figures.items()}

    @torch.no_grad()
    def _count_ahead(self, rows: NumberedRows) -> Tensor:
        """Each expert's share of the choices of the whole step.  -> [L, E]"""
        choices = self._make_tally(rows)
        with held_whole(self.policy.network), self.learner.autocast():
            for piece in self.learner.cut(rows):
                piece = piece.to(self.learner.device)
                said, _ = self._read(piece.text)
                own = count_choices(said, find_read(piece.text), self.experts.number)
                choices[piece.number] = own
        return find_shares(self._join(choices, rows).sum(0))

    def _make_tally(self, rows: NumberedRows) -> Tensor:
        """[B, L, E]"""
        shape = len(rows), len(self.mixtures), self.experts.number
        return torch.zeros(shape, dtype=torch.float64, device=self.learner.device)

    def _join(self, choices: Tensor, rows: NumberedRows) -> Tensor:
        """With those that other ranks have counted.  [B, L, E] -> the same"""
        own = rank_sums.own_rows(rows).number.to(choices.device)
        return rank_sums.join_rows(choices[own], rows) if len(own) < len(rows) else choices

    @torch.no_grad()
    def _correct_biases(self, load: Tensor) -> None:
        if not self.settings.bias_rate:
            return
        for mixture, own in zip(self.mixtures, load, strict=True):
            mixture.bias.copy_(correct_bias(mixture.bias, own, self.settings.bias_rate))
        self.policy.raise_version()

    def state_dict(self) -> dict[str, Any]:
        """The biases are the network's, and in the learner's."""
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


def find_read(text: Trajectories) -> Tensor:
    """The steps up to each row's last chosen one: what lies behind is padding, or says nothing that
    is trained, and a micro-batch may be without it.  -> [B, T] bool
    """
    steps = torch.arange(text.chosen.shape[1], device=text.chosen.device)
    return steps < text.last()[:, None]


def count_choices(said: Sequence[Routing], real: Tensor, number: int) -> Tensor:
    """How often each row chose each of `number` experts in each layer.  real [b, T] -> [b, L, E]"""
    counts = []
    for one in said:
        expert = one.expert.view(len(real), -1)  # [b, T · used]
        counted = real.double().repeat_interleave(one.expert.shape[-1], 1)
        counts.append(counted.new_zeros(len(real), number).scatter_add(1, expert, counted))
    return torch.stack(counts, 1)


def find_shares(counts: Tensor) -> Tensor:
    """[L, E] -> the same, each layer adding up to 1"""
    return counts / counts.sum(-1, keepdim=True).clamp(min=1)
