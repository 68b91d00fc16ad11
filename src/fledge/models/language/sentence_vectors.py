"""A vector for each text out of an encoder's hidden states, as sentence encoders are trained to
give it (Reimers & Gurevych 2019, §3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fledge.models.language.encoder import Encoder, average

TOKENS = 16_384  # of a forward pass over many texts


@dataclass(frozen=True)
class Pooling:
    """kind: of a text's hidden states the mean, the first, or the largest of each dimension.
    normalise: to length 1. longest: tokens that are read of a text; None: the context's.
    """

    kind: Literal["mean", "first", "max"] = "mean"
    normalise: bool = False
    longest: int | None = None


PLAIN_MEAN = Pooling()


def pool(hidden: Tensor, lengths: Tensor, pooling: Pooling = PLAIN_MEAN) -> Tensor:
    """[B, T, D], [B] -> [B, D]"""
    if pooling.kind == "first":
        vectors = hidden[:, 0]
    elif pooling.kind == "mean":
        vectors = average(hidden, lengths)
    else:
        inside = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
        vectors = hidden.masked_fill(~inside[..., None], float("-inf")).amax(1)
    return torch.nn.functional.normalize(vectors, dim=-1) if pooling.normalise else vectors


@torch.no_grad()
def embed_rows(
    network: Encoder, rows: Sequence[Sequence[int]], pooling: Pooling = PLAIN_MEAN
) -> Tensor:
    """Of token rows, framed as the encoder reads them; some at a time.  -> [N, D], float32"""
    device = network.unembedding.device
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    vectors = torch.empty(len(rows), network.config.width)
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and (end + 1 - begin) * len(rows[order[end]]) <= TOKENS:
            end += 1
        some = order[begin:end]
        lengths = torch.tensor([len(rows[i]) for i in some], device=device)
        tokens = torch.zeros(len(some), int(lengths.max()), dtype=torch.long)
        for place, i in enumerate(some):
            tokens[place, : len(rows[i])] = torch.as_tensor(rows[i])
        hidden = network(tokens.to(device), lengths)
        vectors[some] = pool(hidden, lengths, pooling).float().cpu()
        begin = end
    return vectors
