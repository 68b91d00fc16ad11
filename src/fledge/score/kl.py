"""KL(π‖π_ref) of a completion, exact at every step: a sum over all next tokens, sampled only in
which steps are reached.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.policy import TokenPolicy
from fledge.trajectories import Trajectories

LOGITS = 2**22  # numbers of a chunk of logits, of which there are some eight at a time


@torch.no_grad()
def stepwise_kl(policy: TokenPolicy, reference: TokenPolicy, rows: Trajectories) -> Tensor:
    """Σ_t Σ_v π(v|s_t)·log π(v|s_t)/π_ref(v|s_t) over each row's chosen steps, in nats, under the
    decoding rules.  -> [B]

    Its mean over completions sampled from π estimates KL(π‖π_ref) without bias, and usually with
    less noise than k1, the same sum with
    the sampled token alone: by the chain rule E_y Σ_t KL_t is the KL of whole sequences (Cover &
        Thomas 2006, Theorem 2.5.3).
    """
    # [N, D] each
    tokens, chosen = rows.obs[:, :-1], rows.chosen
    mine, other = (p.hidden(tokens, chosen)[chosen] for p in (policy, reference))
    may, might = (p.pack_support(rows.action, rows.chosen) for p in (policy, reference))
    chunk = max(1, min(policy.chunk, LOGITS // len(policy.network.unembedding)))
    steps = []
    for begin in range(0, len(mine), chunk):
        part = slice(begin, begin + chunk)
        logp, logq = (  # [n, V]
            p.logits(hidden[part], support=None if bits is None else bits[part]).log_softmax(-1)
            for p, hidden, bits in ((policy, mine, may), (reference, other, might))
        )
        p, q = logp.exp(), logq.exp()
        # p·log(p/q) − p + q is never below 0, and adds up to the same, for p and q both add up to
        # 1: rounding makes no negative KL.
        each = torch.where(p > 0, p * (logp - logq) - p, 0.0) + q
        steps.append(each.clamp(min=0.0).sum(-1))
    empty = torch.zeros(
        rows.chosen.shape, dtype=steps[0].dtype if steps else mine.dtype, device=mine.device
    )
    return empty.masked_scatter(rows.chosen, torch.cat(steps) if steps else empty[:0]).sum(1)
