"""Which token looks at which: the weights of every head of every layer, as the network attends.

The network runs as always and its `attend` is listened to, so masks, windows, turned queries and
normalised keys are its own. What is computed here a second time is softmax(s·Q Kᵀ), capped where
the model caps it, and it is held against what `attend` returned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.language.transformer_config import TransformerConfig
from fledge.models.language.virtual_tokens import virtual_of

TOLERANCE = 1e-3  # of a layer's output, relative to its largest number


@torch.no_grad()
def attention_maps(network: Any, tokens: Tensor) -> Tensor:
    """Rows sum to 1.  [1, T] -> [layers, heads, T, T]

    Raises UserError for a network that attends in another way than its config says, and for one
    with virtual tokens.
    """
    if virtual_of(network) is not None:
        raise UserError(
            "this model's tokens look at virtual tokens before them (adapter=prefix or prompt), of "
            "which there is no text to show: give its base."
        )
    with _listen(network) as maps:
        network(tokens, network.document_mask(tokens))
    return torch.stack([_join(heard) for heard in maps])


def _join(heard: list[Tensor]) -> Tensor:
    """The map of a layer. One that was called twice read the beginning of a long row by other
    angles (longrope): there that reading counts.
    """
    *early, whole = sorted(heard, key=lambda each: each.shape[-1])
    for each in early:
        t = each.shape[-1]
        if t == whole.shape[-1]:
            raise UserError(
                "long rope reads each of several documents in a row by itself: give one document."
            )
        whole = whole.clone()
        whole[:, :t] = 0.0
        whole[:, :t, :t] = each
    return whole


@contextmanager
def _listen(network: Any) -> Iterator[list[list[Tensor]]]:
    """Every call of a layer's `attend` adds its weights to the layer's list."""
    blocks = getattr(network, "blocks", [])
    attentions: list[Any] = [getattr(block, "attention", None) for block in blocks]
    if not attentions or not all(hasattr(each, "attend") for each in attentions):
        raise UserError(
            f"a {type(network).__name__} attends in a way of its own, which cannot be drawn: give "
            "a model of another family."
        )
    maps: list[list[Tensor]] = [[] for _ in attentions]
    try:
        for attention, heard in zip(attentions, maps, strict=True):
            attention.attend = _listening(attention, attention.attend, heard)
        yield maps
    finally:
        for attention in attentions:
            vars(attention).pop("attend", None)


def _listening(attention: Any, attend: Any, maps: list[Tensor]) -> Any:
    def heard(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **given: Any) -> Tensor:
        y = attend(q, k, v, mask, **given)
        weights = _weights(q, k, mask, attention.config)
        shared = weights.shape[1] // v.shape[1]
        again = weights @ v.float().repeat_interleave(shared, dim=1)
        b, _, t, _ = q.shape
        again = attention.out(again.to(y.dtype).transpose(1, 2).reshape(b, t, -1))
        if (again - y).abs().max() > TOLERANCE * y.abs().max().clamp_min(1e-6):
            raise UserError(
                "this model attends otherwise than its config.json says, and would be drawn wrong: "
                "give a model of another family."
            )
        maps.append(weights[0])
        return y

    return heard


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, config: TransformerConfig) -> Tensor:
    """softmax(s·Q Kᵀ), the scores capped to c·tanh(score / c) where the config has a cap, and where
    the mask allows.  [B, heads, T, d], [B, kv_heads, T, d] -> [B, heads, T, T]
    """
    q, k = q.float(), k.float().repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = (q @ k.transpose(-1, -2)) * config.scale
    if config.score_cap:
        scores = config.score_cap * (scores / config.score_cap).tanh()
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    return scores.masked_fill(~mask, float("-inf")).softmax(-1)
