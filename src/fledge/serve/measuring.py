"""What a model says of text that is there: the log-probability of each token of a prompt, and the
mean of its hidden states. By the network itself, in the precision that it is held in, and not by
the engine's form of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fledge.serve.served import Served
from fledge.serve.spoken import Told

PIECE = 256  # positions whose logits are there at a time


def measure_prompt(served: Served, prompt: Sequence[int], alternatives: int) -> list[Told]:
    """Of each token after the first: log π(x_t | x_<t) and the likeliest others."""
    policy = served.loaded.policy()
    row = torch.tensor([list(prompt)], device=policy.network.unembedding.device)
    hidden = policy.hidden(row[:, :-1])[0]  # [T − 1, D]
    told: list[Told] = []
    for start in range(0, len(hidden), PIECE):
        said = row[0, 1 + start : 1 + start + PIECE]
        logp = policy.logits(hidden[start : start + PIECE]).float().log_softmax(-1)
        best = logp.topk(min(alternatives, logp.shape[-1]), dim=-1) if alternatives else None
        for i, (token, each) in enumerate(
            zip(said.tolist(), logp.gather(-1, said[:, None])[:, 0].tolist(), strict=True)
        ):
            others: list[tuple[int, float]] = []
            if best is not None:
                others = list(zip(best.indices[i].tolist(), best.values[i].tolist(), strict=True))
            told.append(Told(token, each, others))
    return told


def embed(served: Served, ids: Sequence[int], own: int) -> list[float]:
    """(1/T) Σ_t h_t over the last `own` tokens, h of the last layer.  [D]"""
    policy = served.loaded.policy()
    row = torch.tensor([list(ids)], device=policy.network.unembedding.device)
    return policy.hidden(row)[0, -own:].float().mean(0).tolist()
