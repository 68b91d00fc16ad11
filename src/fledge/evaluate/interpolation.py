"""Several language models as one, p = Σ_m λ_m p_m, with the weights under which a text that none of
them has seen is likeliest (Jelinek & Mercer 1980).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fledge.evaluate.likelihood import Likelihood
from fledge.policy import TokenPolicy
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Trajectories

CLOSE = 1e-7  # no weight moves by more in the last step of EM
MOST = 10_000  # steps


class Interpolated(NamedTuple):
    """each: of every model alone. together: of their mixture."""

    weights: list[float]
    each: list[Likelihood]
    together: Likelihood


def fit_weights(logp: Tensor) -> Tensor:
    """By EM from equal weights: λ_m ← the mean over tokens of λ_m p_m / Σ_k λ_k p_k (Dempster et
    al. 1977, §4.3). The likelihood is concave in λ, so that what it ends at is its maximum. A token
    that no model can say has no say.  [N, M] -> [M], which add up to 1
    """
    logp = logp.double()
    logp = logp[logp.isfinite().any(-1)]
    weights = torch.full((logp.shape[1],), 1 / logp.shape[1], dtype=torch.float64)
    for _ in range(MOST if len(logp) else 0):
        posterior = (logp + weights.log()).softmax(-1)
        before, weights = weights, posterior.mean(0)
        if float((weights - before).abs().max()) < CLOSE:
            break
    return weights


@torch.no_grad()
def read_each(
    policies: Sequence[TokenPolicy], batches: Iterable[Trajectories]
) -> Iterator[tuple[Trajectories, Tensor]]:
    """What each model says of every chosen token of a batch.  -> the batch, [n, M]"""
    for batch in batches:
        said = [
            policy.log_prob(batch.obs, batch.action, batch.chosen)[batch.chosen].double()
            for policy in policies
        ]
        yield batch, torch.stack(said, -1)


def measure_interpolated(
    policies: Sequence[TokenPolicy],
    tokenizer: Tokenizer,
    steering: Iterable[Trajectories],
    test: Iterable[Trajectories],
) -> Interpolated:
    """steering: the text that the weights are fitted to. test: that which is measured."""
    weights = fit_weights(torch.cat([said for _, said in read_each(policies, steering)]))
    nats = torch.zeros(len(policies) + 1, dtype=torch.float64)
    tokens = size = 0
    for batch, said in read_each(policies, test):
        mixed = (said + weights.log()).logsumexp(-1, keepdim=True)
        nats -= torch.cat([said, mixed], -1).sum(0)
        tokens += len(said)
        size += int(tokenizer.bytes_per_token(batch.obs.numpy())[:, 1:].sum())
    *each, together = (Likelihood(value, tokens, size) for value in nats.tolist())
    return Interpolated(weights.tolist(), each, together)


def describe_weights(interpolated: Interpolated, names: Sequence[str]) -> str:
    """A part of a sentence: the bits per byte of each model and its weight."""
    pairs = zip(names, interpolated.each, interpolated.weights, strict=True)
    return ", ".join(
        f"{name} {one.bits_per_byte:.3f} with weight {weight:.2f}" for name, one, weight in pairs
    )
