"""How far a network's answers are from those of the one that it was made from, and what it can have
lost: on held-out rows, token by token.

KL(p ‖ q) and the largest |log q(v) − log p(v)| over all tokens v that may be said. Whatever token
follows, its loss changes by no more than that; and by Pinsker's inequality (Cover & Thomas 2006,
lemma 11.6.1) no event's probability changes by more than √(KL / 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.errors import Diverged, UserError
from fledge.policy import TokenPolicy
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Trajectories

_CHUNK = 256  # tokens whose logits [chunk, V] are in memory at a time


@dataclass(frozen=True)
class Fidelity:
    """Of q beside p, sums over all chosen tokens: their losses −log p and −log q, KL(p ‖ q), and
    the largest change of any token's log-probability, all in nats. bytes: of the text of the
    tokens, in UTF-8.
    """

    tokens: int
    bytes: int
    loss_before: float
    loss_after: float
    kl: float
    largest: float

    def list_figures(self) -> tuple[dict[str, float], dict[str, float]]:
        """Before and after: nats per token, and bits per byte where the text has bytes."""
        sides = [{"loss": nats / self.tokens} for nats in (self.loss_before, self.loss_after)]
        if self.bytes:
            for side, nats in zip(sides, (self.loss_before, self.loss_after), strict=True):
                side["bits_per_byte"] = nats / math.log(2) / self.bytes
        return sides[0], sides[1]

    def list_bounds(self) -> dict[str, float]:
        """Per token: what was measured, and what it cannot be more than."""
        kl = self.kl / self.tokens
        return {
            "base_kl": kl,
            "loss_rise": (self.loss_after - self.loss_before) / self.tokens,
            "loss_rise_bound": self.largest / self.tokens,
            "probability_change_bound": math.sqrt(max(kl, 0.0) / 2),
        }


@torch.no_grad()
def measure_fidelity(
    before: TokenPolicy, after: TokenPolicy, batches: Iterable[Trajectories], tokenizer: Tokenizer
) -> Fidelity:
    """Summed in float64. Both policies have the same tokens. Raises UserError where no token is
    chosen, Diverged where a number comes out that is none.
    """
    sums, tokens, size = torch.zeros(4, dtype=torch.float64), 0, 0
    for batch in batches:
        rows = batch.to(before.network.unembedding.device)
        read = rows.obs[:, : rows.action.shape[1]]
        hidden = [policy.hidden(read)[rows.chosen] for policy in (before, after)]  # [N, D]
        action = rows.action[rows.chosen]
        for a in range(0, len(action), _CHUNK):
            logp, logq = (
                policy.logits(h[a : a + _CHUNK]).log_softmax(-1)
                for policy, h in zip((before, after), hidden, strict=True)
            )
            sums += _compare(logp, logq, action[a : a + _CHUNK]).double().cpu()
        tokens += len(action)
        in_bytes = torch.from_numpy(tokenizer.bytes_per_token(rows.obs.cpu().numpy())[:, 1:])
        size += int(in_bytes[rows.chosen.cpu()].sum())
    if not tokens:
        raise UserError(
            "the held-out data has no token to foretell: give more of it, or leave out data."
        )
    if not bool(sums.isfinite().all()):
        raise Diverged(
            "the smaller model gives the held-out text no finite loss: choose less sparsity, or "
            "more bits."
        )
    one, other, kl, largest = sums.tolist()
    return Fidelity(tokens, size, one, other, kl, largest)


def _compare(logp: Tensor, logq: Tensor, action: Tensor) -> Tensor:
    """Sums of −log p(a), −log q(a), KL(p ‖ q) and the largest change.  [N, V] twice, [N] -> [4]"""
    losses = [-side.gather(-1, action[:, None]).sum() for side in (logp, logq)]
    # What may not be said has −inf in both.
    change = torch.where(logp.isfinite(), logp - logq, 0.0)
    kl = (logp.exp() * change).sum()
    return torch.stack([*losses, kl, change.abs().amax(-1).sum()])
